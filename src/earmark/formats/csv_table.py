"""CSV: one table for all recordings, also usable as a manifest. Parquet files are made from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from earmark.formats.delimited import read_delimited
from earmark.formats.format import Format, Rows, RowSettings, Wanted, Writer, score_text, seconds_text
from earmark.formats.segments import Segment, Window
from earmark.formats.sheet import Sheet
from earmark.io.csv_rows import csv_row
from earmark.label_lists import join_labels

if TYPE_CHECKING:
    from earmark.tasks.decision import Prediction

# kind of row -> columns with its position in the recording
_TIME_COLUMNS: dict[str, list[str]] = {"clips": [], "windows": ["start_s", "end_s"], "segments": ["start_s", "end_s"]}


def csv_rows(settings: RowSettings) -> Rows:
    """Return the row writer for the task of a model."""
    return NumberRows(settings) if settings.number else CsvRows(settings)


class CsvRows(Rows):
    """Rows with ``path,label,score``, then ``label_2,score_2``...; timed rows have ``start_s,end_s`` after ``path``.

    If predictions can be rejected, clips and windows have a last column ``below_threshold``: the rejected class, whose
    probability is the score. If clips can have several labels, the column ``labels`` comes first: all labels that are
    present, written by :func:`earmark.label_lists.join_labels`.
    """

    def __init__(self, settings: RowSettings) -> None:
        super().__init__(settings)
        is_segments = settings.kind == "segments"
        self.several = settings.several and not is_segments
        self.rejects = settings.rejects and not is_segments
        self.top_k = 1 if is_segments else settings.top_k

    def head(self) -> str:
        """Return the column names."""
        more = [name for k in range(2, self.top_k + 1) for name in (f"label_{k}", f"score_{k}")]
        flag = ["below_threshold"] if self.rejects else []
        names = ["labels"] if self.several else []
        return csv_row(["path", *_TIME_COLUMNS[self.settings.kind], *names, "label", "score", *more, *flag])

    def clip(self, source: str, top: Sequence[Prediction]) -> str:
        """Return one row."""
        return csv_row([source, *self._cells(top)])

    def window(self, source: str, window: Window, top: Sequence[Prediction]) -> str:
        """Return one row."""
        return csv_row([source, seconds_text(window.start_s), seconds_text(window.end_s), *self._cells(top)])

    def segment(self, source: str, segment: Segment) -> str:
        """Return one row."""
        times = [seconds_text(segment.start_s), seconds_text(segment.end_s)]
        return csv_row([source, *times, segment.label, score_text(segment.score)])

    def bad(self, source: str, reason: str) -> str:
        """Return a row of empty cells if each recording has exactly one row; else empty text."""
        if self.settings.kind != "clips":
            return ""
        return csv_row([source, *[""] * (self.several + 2 * self.top_k + self.rejects)])

    def _cells(self, top: Sequence[Prediction]) -> list[str]:
        cells = [cell for one in top[: self.top_k] for cell in (one["label"], score_text(one["score"]))]
        if self.several:
            return [join_labels([one["label"] for one in top if one["present"]]), *cells]
        return [*cells, top[0].get("below_threshold", "")] if self.rejects else cells


class NumberRows(Rows):
    """Rows with ``path``, for windows ``start_s,end_s``, and a column named after the regression's number."""

    def head(self) -> str:
        """Return the column names."""
        return csv_row(["path", *_TIME_COLUMNS[self.settings.kind], self.settings.number])

    def clip(self, source: str, top: Sequence[Prediction]) -> str:
        """Return one row."""
        return csv_row([source, score_text(top[0]["score"])])

    def window(self, source: str, window: Window, top: Sequence[Prediction]) -> str:
        """Return one row."""
        times = [seconds_text(window.start_s), seconds_text(window.end_s)]
        return csv_row([source, *times, score_text(top[0]["score"])])

    def bad(self, source: str, reason: str) -> str:
        """Return a row with an empty cell if each recording has one row."""
        return csv_row([source, ""]) if self.settings.kind == "clips" else ""


def _read(path: Path, wanted: Wanted) -> Sheet:
    return read_delimited(path)


CSV = Format(
    name="csv",
    suffixes=(".csv", ".tsv"),
    named_suffixes=(".txt",),
    read=_read,
    writer=Writer(csv_rows, suffix=".csv"),
)
