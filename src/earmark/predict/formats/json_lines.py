"""JSON Lines: one object a row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from earmark.predict.formats.format import Rows, score_text
from earmark.predict.timeline import Segment, Window
from earmark.tasks.decision import Prediction


class JsonRows(Rows):
    """``{"path", "predictions": [{"label", "score"}, ...]}`` or ``{"path", "error"}``.

    If several labels are possible, those with ``"present": true`` are predicted. A rejected first class is under
    ``below_threshold``; see :class:`earmark.tasks.decision.Prediction`.
    """

    def clip(self, source: str, top: Sequence[Prediction]) -> str:
        """Return one line."""
        return _line({"path": source, "predictions": _objects(top)})

    def window(self, source: str, window: Window, top: Sequence[Prediction]) -> str:
        """Return one line, with ``start_s`` and ``end_s``."""
        return _line({"path": source, **_times(window), "predictions": _objects(top)})

    def segment(self, source: str, segment: Segment) -> str:
        """Return one line: ``path``, ``start_s``, ``end_s``, ``label``, ``score``."""
        score = float(score_text(segment.score))
        return _line({"path": source, **_times(segment), "label": segment.label, "score": score})

    def bad(self, source: str, reason: str) -> str:
        """Return one line with the reason."""
        return _line({"path": source, "error": reason})


def _line(value: dict[str, Any]) -> str:
    # a name that is not UTF-8 is escaped, so that the line stays JSON
    has_bytes = any("\udc80" <= char <= "\udcff" for text in value.values() if isinstance(text, str) for char in text)
    return json.dumps(value, ensure_ascii=has_bytes, allow_nan=False) + "\n"


def _objects(top: Sequence[Prediction]) -> list[dict[str, Any]]:
    return [{**one, "score": float(score_text(one["score"]))} for one in top]


def _times(place: Window | Segment) -> dict[str, float]:
    return {"start_s": round(place.start_s, 6), "end_s": round(place.end_s, 6)}
