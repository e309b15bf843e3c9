"""Forms of answers: what a recording, a window, a segment looks like in each format. Text only; no files here.

Sources: Audacity's manual, "Importing and Exporting Labels"; Raven Pro's user manual, selection tables; the RT-09
evaluation plan of NIST, appendix A, RTTM.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Sequence
from typing import Any, Protocol

from earmark.data.clips import join_labels
from earmark.models.decision import Prediction
from earmark.predict.timeline import Segment, Window
from earmark.tasks import Task

# what is in a row -> the columns that say where it is
PLACES: dict[str, list[str]] = {"clips": [], "windows": ["start_s", "end_s"], "segments": ["start_s", "end_s"]}


class Rows(Protocol):
    """One format."""

    def head(self) -> str:
        """What stands before the first row of a file."""

    def clip(self, source: str, top: Sequence[Prediction]) -> str:
        """A whole recording: its classes, most likely first."""

    def window(self, source: str, window: Window, top: Sequence[Prediction]) -> str:
        """A window of it."""

    def segment(self, source: str, segment: Segment) -> str:
        """A segment of it."""

    def bad(self, source: str, reason: str) -> str:
        """A recording that cannot be read; empty where the format has no way to say so."""


def rows_of(
    format: str,
    kind: str,
    top_k: int,
    sampling_rate_hz: int,
    *,
    rejects: bool = False,
    task: Task = Task.SINGLE_LABEL,
    number: str = "",
) -> Rows:
    """The rows of a format.

    Args:
        format: ``csv``, ``parquet`` (which is made from the CSV), ``jsonl``, ``audacity``, ``raven`` or ``rttm``.
        kind: ``clips``, ``windows`` or ``segments``.
        top_k: classes a row.
        sampling_rate_hz: of the model, which has heard nothing above half of it.
        rejects: whether the model has thresholds, so that some of its answers are not given.
        task: of the model.
        number: what a regression's number is called.
    """
    if format in ("csv", "parquet"):
        if task is Task.REGRESSION:
            return NumberRows(kind, number)
        return CsvRows(kind, top_k, rejects=rejects, several=task is Task.MULTI_LABEL)
    if format == "jsonl":
        return JsonRows()
    return {"audacity": AudacityRows, "raven": RavenRows, "rttm": RttmRows}[format](sampling_rate_hz)


class CsvRows:
    """``path,label,score``, then ``label_2,score_2``...; ``start_s,end_s`` behind ``path`` for windows and segments.

    Where answers can be rejected, ``below_threshold`` is the last column of clips and windows: the class that was not
    probable enough, whose probability is the score. Where several labels may be there, ``labels`` stands before the
    most likely ones: all that are, as :func:`earmark.data.clips.join_labels` writes them.
    """

    def __init__(self, kind: str, top_k: int, *, rejects: bool = False, several: bool = False) -> None:
        self.kind = kind
        self.several = several and kind != "segments"
        self.rejects = rejects and kind != "segments"
        self.top_k = 1 if kind == "segments" else top_k

    def head(self) -> str:
        """Names of the columns."""
        more = [name for k in range(2, self.top_k + 1) for name in (f"label_{k}", f"score_{k}")]
        flag = ["below_threshold"] if self.rejects else []
        names = ["labels"] if self.several else []
        return _line(["path", *PLACES[self.kind], *names, "label", "score", *more, *flag])

    def clip(self, source: str, top: Sequence[Prediction]) -> str:
        """One row."""
        return _line([source, *self._cells(top)])

    def window(self, source: str, window: Window, top: Sequence[Prediction]) -> str:
        """One row."""
        return _line([source, _time(window.start_s), _time(window.end_s), *self._cells(top)])

    def segment(self, source: str, segment: Segment) -> str:
        """One row."""
        top: list[Prediction] = [{"label": segment.label, "score": segment.score}]
        return _line([source, _time(segment.start_s), _time(segment.end_s), *self._cells(top)])

    def bad(self, source: str, reason: str) -> str:
        """A row of empty cells where each recording has its row, so that none is missing; else none."""
        return _line([source, *[""] * (self.several + 2 * self.top_k + self.rejects)]) if self.kind == "clips" else ""

    def _cells(self, top: Sequence[Prediction]) -> list[str]:
        cells = [cell for one in top[: self.top_k] for cell in (one["label"], f"{one['score']:.6g}")]
        if self.several:
            return [join_labels([one["label"] for one in top if one["present"]]), *cells]
        return [*cells, top[0].get("below_threshold", "")] if self.rejects else cells


class NumberRows:
    """``path`` and a column for the number of a regression, by its name; ``start_s,end_s`` between them for windows."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind = kind
        self.name = name

    def head(self) -> str:
        """Names of the columns."""
        return _line(["path", *PLACES[self.kind], self.name])

    def clip(self, source: str, top: Sequence[Prediction]) -> str:
        """One row."""
        return _line([source, f"{top[0]['score']:.6g}"])

    def window(self, source: str, window: Window, top: Sequence[Prediction]) -> str:
        """One row."""
        return _line([source, _time(window.start_s), _time(window.end_s), f"{top[0]['score']:.6g}"])

    def segment(self, source: str, segment: Segment) -> str:
        """Numbers have no segments."""
        raise NotImplementedError("segments of numbers")

    def bad(self, source: str, reason: str) -> str:
        """A row with an empty cell where each recording has its row."""
        return _line([source, ""]) if self.kind == "clips" else ""


class JsonRows:
    """One object a line, ``{"path", "predictions": [{"label", "score"}, ...]}`` or ``{"path", "error"}``.

    Of several labels, those with ``"present": true`` are there. A rejected first class is under ``below_threshold``;
    see :class:`earmark.models.decision.Prediction`.
    """

    def head(self) -> str:
        """Nothing."""
        return ""

    def clip(self, source: str, top: Sequence[Prediction]) -> str:
        """One line."""
        return self._line({"path": source, "predictions": _objects(top)})

    def window(self, source: str, window: Window, top: Sequence[Prediction]) -> str:
        """One line, with ``start_s`` and ``end_s``."""
        return self._line({"path": source, **_span(window), "predictions": _objects(top)})

    def segment(self, source: str, segment: Segment) -> str:
        """One line: ``path``, ``start_s``, ``end_s``, ``label``, ``score``."""
        score = float(f"{segment.score:.6g}")
        return self._line({"path": source, **_span(segment), "label": segment.label, "score": score})

    def bad(self, source: str, reason: str) -> str:
        """One line with the reason."""
        return self._line({"path": source, "error": reason})

    def _line(self, value: dict[str, Any]) -> str:
        # a name that is not UTF-8 is escaped, so that the line stays JSON
        odd_name = any("\udc80" <= char <= "\udcff" for char in value["path"])
        return json.dumps(value, ensure_ascii=odd_name, allow_nan=False) + "\n"


class _SegmentRows:
    """Formats that know segments only."""

    def __init__(self, sampling_rate_hz: int) -> None:
        self.highest_hz = sampling_rate_hz / 2

    def head(self) -> str:
        """Nothing."""
        return ""

    def clip(self, source: str, top: Sequence[Prediction]) -> str:
        """These formats have no rows without a time."""
        raise NotImplementedError("rows of whole recordings")

    def window(self, source: str, window: Window, top: Sequence[Prediction]) -> str:
        """The most likely class, as a segment."""
        first = top[0]
        return self.segment(source, Segment(window.start_s, window.end_s, first["label"], first["score"]))

    def segment(self, source: str, segment: Segment) -> str:
        raise NotImplementedError

    def bad(self, source: str, reason: str) -> str:
        """Nothing."""
        return ""


class AudacityRows(_SegmentRows):
    """A label track for Audacity: start, end and label, between tabs; the score stands behind the label."""

    def segment(self, source: str, segment: Segment) -> str:
        """One label."""
        label = re.sub(r"\s+", " ", segment.label)
        return f"{segment.start_s:.6f}\t{segment.end_s:.6f}\t{label} {segment.score:.2f}\n"


class RavenRows(_SegmentRows):
    """A selection table for Raven, of the spectrogram view; each recording's selections are numbered from 1."""

    def __init__(self, sampling_rate_hz: int) -> None:
        super().__init__(sampling_rate_hz)
        self._source = ""
        self._number = 0

    def head(self) -> str:
        """Names of the columns."""
        names = ["Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"]
        return "\t".join([*names, "Begin Path", "Annotation", "Score"]) + "\n"

    def segment(self, source: str, segment: Segment) -> str:
        """One selection, from 0 Hz to the highest frequency that the model hears."""
        self._number = self._number + 1 if source == self._source else 1
        self._source = source
        times = [f"{segment.start_s:.6f}", f"{segment.end_s:.6f}", "0", f"{self.highest_hz:g}"]
        label = re.sub(r"\s+", " ", segment.label)
        return (
            "\t".join([str(self._number), "Spectrogram 1", "1", *times, source, label, f"{segment.score:.6g}"]) + "\n"
        )


class RttmRows(_SegmentRows):
    """Rich Transcription Time Marked: one SPEAKER line a segment; words have no blanks, so they become underscores."""

    def segment(self, source: str, segment: Segment) -> str:
        """One line: file, channel, onset, duration, class, score."""
        name, label = (re.sub(r"\s", "_", word) for word in (os.path.splitext(source)[0], segment.label))
        length_s = segment.end_s - segment.start_s
        return f"SPEAKER {name} 1 {segment.start_s:.3f} {length_s:.3f} <NA> <NA> {label} {segment.score:.6g} <NA>\n"


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _time(seconds: float) -> str:
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def _objects(top: Sequence[Prediction]) -> list[dict[str, Any]]:
    return [{**one, "score": float(f"{one['score']:.6g}")} for one in top]


def _span(place: Window | Segment) -> dict[str, float]:
    return {"start_s": round(place.start_s, 6), "end_s": round(place.end_s, 6)}
