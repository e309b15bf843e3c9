"""JSON: one object per line, or tables of other programs. Also results of ``earmark predict``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from earmark.formats.format import Format, Rows, Wanted, Writer, score_text
from earmark.formats.json_rows import read_json
from earmark.formats.segments import Segment, Window
from earmark.formats.sheet import Sheet

if TYPE_CHECKING:
    from earmark.tasks.decision import Prediction

_PATH, _PREDICTIONS = "path", "predictions"


class JsonRows(Rows):
    """Rows with ``{"path", "predictions": [{"label", "score"}, ...]}`` or ``{"path", "error"}``.

    If clips can have several labels, the predicted ones have ``"present": true``. A rejected first class is under
    ``below_threshold``. See :class:`earmark.tasks.decision.Prediction`.
    """

    def clip(self, source: str, top: Sequence[Prediction]) -> str:
        """Return one line."""
        return _line({_PATH: source, _PREDICTIONS: _objects(top)})

    def window(self, source: str, window: Window, top: Sequence[Prediction]) -> str:
        """Return one line, with ``start_s`` and ``end_s``."""
        return _line({_PATH: source, **_times(window), _PREDICTIONS: _objects(top)})

    def segment(self, source: str, segment: Segment) -> str:
        """Return one line: ``path``, ``start_s``, ``end_s``, ``label``, ``score``."""
        score = float(score_text(segment.score))
        return _line({_PATH: source, **_times(segment), "label": segment.label, "score": score})

    def bad(self, source: str, reason: str) -> str:
        """Return one line with the reason."""
        return _line({_PATH: source, "error": reason})


def _line(value: dict[str, object]) -> str:
    # escape names that are not UTF-8, so that the line is valid JSON
    has_bytes = any("\udc80" <= char <= "\udcff" for text in value.values() if isinstance(text, str) for char in text)
    return json.dumps(value, ensure_ascii=has_bytes, allow_nan=False) + "\n"


def _objects(top: Sequence[Prediction]) -> list[dict[str, object]]:
    return [{**one, "score": float(score_text(one["score"]))} for one in top]


def _times(place: Window | Segment) -> dict[str, float]:
    return {"start_s": round(place.start_s, 6), "end_s": round(place.end_s, 6)}


def _read(path: Path, wanted: Wanted) -> Sheet:
    return read_json(path, (*wanted.audio, *wanted.others))


def has_predictions(sheet: Sheet) -> bool:
    """Return whether each row of a table has a list of predictions, as written by :class:`JsonRows`."""
    if not {_PATH, _PREDICTIONS} <= set(sheet.columns) or "label" in sheet.columns:
        return False
    return all(cell is None or _is_predicted(cell) for cell in sheet.columns[_PREDICTIONS])


def _is_predicted(cell: object) -> bool:
    return isinstance(cell, list) and bool(cell) and all(isinstance(one, dict) and "label" in one for one in cell)


def take_predictions(sheet: Sheet) -> None:
    """Put the label and the score of the first prediction into columns; for several labels, all present labels.

    A recording that could not be read gets no label.
    """
    cells = sheet.columns.pop(_PREDICTIONS)
    several = any("present" in one for cell in cells if cell for one in cell)
    sheet.columns["label"] = [None if cell is None else _label(cell, several=several) for cell in cells]
    sheet.columns["score"] = [None if cell is None else cell[0].get("score") for cell in cells]
    which = "all labels that are present" if several else "the most likely class"
    sheet.explain(f"column `{_PREDICTIONS}` was read as results of earmark predict: the label is {which}")


def _label(cell: list[dict[str, object]], *, several: bool) -> object:
    return [one["label"] for one in cell if one.get("present")] if several else cell[0]["label"]


JSON_LINES = Format(
    name="jsonl",
    suffixes=(".jsonl", ".json"),
    read=_read,
    recognises=has_predictions,
    interpret=take_predictions,
    writer=Writer(JsonRows, suffix=".jsonl", escapes_bytes=True),
)
