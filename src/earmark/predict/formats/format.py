"""The contract of an output format: how the results for a recording become text.

A format is one file in this package: a class with the methods of :class:`Rows`, and an entry in
:data:`earmark.predict.formats.FORMATS`. Its name, suffixes and what it can hold are in
:data:`earmark.settings.prediction_flags.OUTPUT_FORMATS`, because the flags are checked before anything is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from earmark.predict.timeline import Segment, Window
from earmark.tasks import Task
from earmark.tasks.decision import Prediction

# what gets a row -> the columns with its place in the recording
TIME_COLUMNS: dict[str, list[str]] = {"clips": [], "windows": ["start_s", "end_s"], "segments": ["start_s", "end_s"]}


@dataclass(frozen=True)
class RowSettings:
    """Settings that decide what rows look like.

    Attributes:
        kind: ``clips``, ``windows`` or ``segments``.
        top_k: classes in each row.
        sampling_rate_hz: rate of the model, which uses no frequency above half of it.
        rejects: whether the model has thresholds, so that some predictions are withheld.
        task: task of the model.
        number: name of a regression's number.
        one_table: whether one table holds many recordings, in a format that has a file for each otherwise.
        append_score: whether a label is followed by its score, in a format without a column for it.
        ids: name of each recording by its path, in a format that identifies recordings by such names.
    """

    kind: str
    top_k: int = 1
    sampling_rate_hz: int = 16_000
    rejects: bool = False
    task: Task = Task.SINGLE_LABEL
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

    def state(self) -> dict[str, Any]:
        """Return what later rows depend on, as JSON values; a resumed job passes it to :meth:`restore`."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state that :meth:`state` returned."""


class SegmentRows(Rows):
    """A format with a time in each row; a window becomes a segment of each label that is predicted for it."""

    def window(self, source: str, window: Window, top: Sequence[Prediction]) -> str:
        """Return a row for the most likely class, or for every label that is present."""
        several = self.settings.task is Task.MULTI_LABEL
        named = [one for one in top if one["present"]] if several else top[:1]
        return "".join(
            self.segment(source, Segment(window.start_s, window.end_s, one["label"], one["score"])) for one in named
        )


def in_one_line(text: str) -> str:
    """Return text for a format whose cells end at tabs and line ends: each run of white space becomes one blank."""
    return re.sub(r"\s+", " ", text)


def seconds_text(seconds: float) -> str:
    """Return seconds with at most six decimals and without trailing zeros."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def score_text(score: float) -> str:
    """Return a score with six significant digits."""
    return f"{score:.6g}"
