"""The contract of a format: how tables of clips are read from it, and how results are written in it.

A format is one file in this package with a :class:`Format`, and its line in :mod:`earmark.formats.format_registry`.
Its suffixes, its columns and the flags of ``earmark predict`` that fit it are in that file only.
``tests/formats/test_toy_format.py`` is an example.
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
    """The names of the columns that are used if a table has them.

    Attributes:
        audio: the recording: the first of these that is there.
        others: labels, groups and folds.
    """

    audio: tuple[str, ...]
    others: tuple[str, ...]


@dataclass(frozen=True)
class Format:
    """A format of tables.

    A format has a file type of its own (``read``), or is a table with columns of its own (``recognises`` and
    ``interpret``) in a file of another format, as Raven's tables are text with tabs.

    Attributes:
        name: value of ``--format``.
        suffixes: of files that may be tables, in lower case; a folder of recordings is searched for them.
        named_suffixes: suffixes of files that are tables only if somebody names them, because most are something else.
        read: returns the cells of a file with one of these suffixes, or ``None`` if the file is of another format.
        recognises: whether a table that was read has the columns of this format.
        interpret: gives the columns of such a table the names that earmark knows, and explains it in the sheet.
        writer: how ``earmark predict`` writes it; ``None`` if it only reads it.
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
    """Settings that decide what rows look like.

    Attributes:
        kind: ``clips``, ``windows`` or ``segments``.
        top_k: classes in each row.
        sampling_rate_hz: rate of the model, which uses no frequency above half of it.
        rejects: whether the model has thresholds, so that some predictions are withheld.
        several: whether a clip can have several labels.
        number: name of a regression's number; empty for a model with classes.
        one_table: whether one table holds many recordings, in a format that has a file for each otherwise.
        append_score: whether a label is followed by its score, in a format without a column for it.
        ids: name of each recording by its path, in a format that identifies recordings by such names.
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
    """Text of the results, recording by recording: :meth:`start`, rows, :meth:`end`.

    Args:
        settings: what the rows look like.
    """

    def __init__(self, settings: RowSettings) -> None:
        self.settings = settings

    def head(self) -> str:
        """Return the text before the first row of a file."""
        return ""

    def start(self, source: str) -> None:
        """Begin the rows of a recording."""

    def clip(self, source: str, top: Sequence[Prediction]) -> str:
        """Return the row of a whole recording; ``top`` has the most likely class first."""
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
        """Return what later rows depend on, as JSON values; a resumed job passes it to :meth:`restore`."""
        return {}

    def restore(self, state: Mapping[str, object]) -> None:
        """Continue from a state that :meth:`state` returned."""


class SegmentRows(Rows):
    """A format with a time in each row; a window becomes a segment of each label that is predicted for it."""

    def window(self, source: str, window: Window, top: Sequence[Prediction]) -> str:
        """Return a row for the most likely class, or for every label that is present."""
        named = [one for one in top if one["present"]] if self.settings.several else top[:1]
        return "".join(
            self.segment(source, Segment(window.start_s, window.end_s, one["label"], one["score"])) for one in named
        )


@dataclass(frozen=True)
class Writer:
    """How a format is written, and which flags of ``earmark predict`` fit it.

    Attributes:
        rows: makes the text of the rows.
        suffix: suffix of ``--output`` that chooses the format; ``None`` if only ``--format`` does.
        table_ending: ending of the file that each recording gets; ``None`` if all recordings share one file.
        has_path: whether a row names its recording, so that one table can hold many.
        has_score: whether a row has a column for the score.
        whole_recordings: whether it has rows without a time.
        counts_through: whether the rows of one table for many recordings depend on the recordings before.
        label: the text of a class name in the format.
        ids: names by which the format identifies recordings, all different; ``None`` if rows have the paths.
        loses_path: whether a path cannot be written as it is; ``None`` if every path can.
        convert: makes the output file from the finished text, given both paths; ``None`` if the text is the output.
        package: optional package that ``convert`` needs.
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
    convert: Callable[[Path, Path], None] | None = None
    package: str | None = None


def in_one_line(text: str) -> str:
    """Return text for a format whose cells end at tabs and line ends: each run of white space becomes one blank."""
    return re.sub(r"\s+", " ", text)


def seconds_text(seconds: float) -> str:
    """Return seconds with at most six decimals and without trailing zeros."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def score_text(score: float) -> str:
    """Return a score with six significant digits."""
    return f"{score:.6g}"
