"""The interface of a format: how to read tables of clips, and how to write results.

A format is a file in this package with a :class:`Format`, and a line in :mod:`earmark.formats.format_registry`. Only
the format's own file knows its suffixes, its columns and the flags of ``earmark predict`` that work with it. See
``tests/formats/test_toy_format.py`` for an example.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from earmark.formats.segments import Segment, Window
from earmark.formats.sheet import Sheet

if TYPE_CHECKING:
    from earmark.tasks.decision import Prediction


@dataclass(frozen=True)
class Wanted:
    """Names of the columns to use if a table has them.

    Attributes:
        audio: names for the recording; the first existing one is used.
        others: labels, groups and folds.
    """

    audio: tuple[str, ...]
    others: tuple[str, ...]


@dataclass(frozen=True)
class Format:
    """A format of tables.

    A format either has its own file type (``read``), or is a table with special columns (``recognises`` and
    ``interpret``) in a file of another format. For example, Raven's tables are text with tabs.

    Attributes:
        name: value of ``--format``.
        suffixes: suffixes of files that may be tables, in lower case. Folders of recordings are searched for them.
        named_suffixes: suffixes of files that are read as tables only if the user names them, because most are not
            tables.
        read: returns the cells of a file with one of these suffixes, or ``None`` if the file has another format.
        recognises: returns whether a table has the columns of this format.
        interpret: renames the columns of such a table to names that earmark knows, and explains it in the sheet.
        writer: how ``earmark predict`` writes the format; ``None`` if the format can only be read.
    """

    name: str
    suffixes: tuple[str, ...] = ()
    named_suffixes: tuple[str, ...] = ()
    read: Callable[[Path, Wanted], Sheet | None] | None = None
    recognises: Callable[[Sheet], bool] | None = None
    interpret: Callable[[Sheet], None] | None = None
    writer: Writer | None = None


@dataclass(frozen=True)
class RowSettings:
    """Settings of the rows of results.

    Attributes:
        kind: ``clips``, ``windows`` or ``segments``.
        top_k: number of classes in each row.
        sampling_rate_hz: sampling rate of the model; half of it is the highest frequency that the model uses.
        rejects: whether the model has thresholds, so that some predictions are rejected.
        several: whether a clip can have several labels.
        number: name of a regression's number; empty for a model with classes.
        one_table: whether one table holds many recordings, in a format that otherwise has one file per recording.
        append_score: whether to append the score to the label, in a format without a score column.
        ids: ID of each recording by its path, for formats that use IDs.
    """

    kind: str
    top_k: int = 1
    sampling_rate_hz: int = 16_000
    rejects: bool = False
    several: bool = False
    number: str = ""
    one_table: bool = False
    append_score: bool = False
    ids: Mapping[str, str] = field(default_factory=dict)


class Rows:
    """Writer of the text of the results, recording by recording: :meth:`start`, rows, :meth:`end`.

    Args:
        settings: settings of the rows.
    """

    def __init__(self, settings: RowSettings) -> None:
        self.settings = settings

    def head(self) -> str:
        """Return the text before the first row of a file."""
        return ""

    def start(self, source: str) -> None:
        """Start the rows of a recording."""

    def clip(self, source: str, top: Sequence[Prediction]) -> str:
        """Return the row of a whole recording. ``top`` has the most likely class first."""
        raise NotImplementedError("rows of whole recordings")

    def window(self, source: str, window: Window, top: Sequence[Prediction]) -> str:
        """Return the rows of a window."""
        raise NotImplementedError("rows of windows")

    def segment(self, source: str, segment: Segment) -> str:
        """Return the row of a segment."""
        raise NotImplementedError("rows of segments")

    def bad(self, source: str, reason: str) -> str:
        """Return the row of a recording that could not be read; empty if the format has none."""
        return ""

    def end(self, duration_s: float) -> None:
        """End the rows of a recording of this length."""

    def state(self) -> dict[str, object]:
        """Return the state that later rows depend on, as JSON values. A resumed job passes it to :meth:`restore`."""
        return {}

    def restore(self, state: Mapping[str, object]) -> None:
        """Continue from a state returned by :meth:`state`."""


class SegmentRows(Rows):
    """Rows of a format with times. A window becomes one segment for each predicted label."""

    def window(self, source: str, window: Window, top: Sequence[Prediction]) -> str:
        """Return a row for the most likely class, or for every present label."""
        named = [one for one in top if one["present"]] if self.settings.several else top[:1]
        return "".join(
            self.segment(source, Segment(window.start_s, window.end_s, one["label"], one["score"])) for one in named
        )


@dataclass(frozen=True)
class Writer:
    """How to write a format, and which flags of ``earmark predict`` it supports.

    Attributes:
        rows: creates the writer of the rows.
        suffix: suffix of ``--output`` that selects the format; ``None`` if only ``--format`` selects it.
        table_ending: end of the file name of each recording's table; ``None`` if all recordings share one file.
        has_path: whether rows name their recording, so that one table can hold many.
        has_score: whether rows have a column for the score.
        whole_recordings: whether the format has rows without times.
        counts_through: whether the rows of a table for many recordings depend on the previous recordings.
        label: converts a class name to the format's text.
        ids: returns a unique ID for each recording; ``None`` if rows have paths.
        loses_path: returns whether a path cannot be written unchanged; ``None`` if every path can.
        escapes_bytes: whether names that are not UTF-8 are escaped, so that the output is valid UTF-8.
        convert: creates the output file from the finished text, given both paths; ``None`` if the text is the output.
        package: optional package needed by ``convert``.
    """

    rows: Callable[[RowSettings], Rows]
    suffix: str | None = None
    table_ending: str | None = None
    has_path: bool = True
    has_score: bool = True
    whole_recordings: bool = True
    counts_through: bool = False
    label: Callable[[str], str] = str
    ids: Callable[[Sequence[str]], dict[str, str]] | None = None
    loses_path: Callable[[str], bool] | None = None
    escapes_bytes: bool = False
    convert: Callable[[Path, Path], None] | None = None
    package: str | None = None


def in_one_line(text: str) -> str:
    """Replace each run of white space by one blank, for formats whose cells end at tabs and line breaks."""
    return re.sub(r"\s+", " ", text)


def seconds_text(seconds: float) -> str:
    """Return seconds as text with at most six decimals and without trailing zeros."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def score_text(score: float) -> str:
    """Return a score as text with six significant digits."""
    return f"{score:.6g}"
