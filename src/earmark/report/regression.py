"""What the report says of a split of numbers.

Shapes: N clips.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from earmark.report.curves import errors_histogram
from earmark.report.examples import choose_of_numbers, heard
from earmark.report.slices import ERROR, slices
from earmark.runs.judged import Judged

MOST_POINTS = 2000


def numbers_of_split(name: str, judged: Judged, durations_s: np.ndarray, group_column: str | None) -> dict[str, Any]:
    """JSON values for ``regression.html``.

    Args:
        name: of the split.
        judged: its N clips.
        durations_s: their lengths in seconds, float (N,).
        group_column: what their groups are called.
    """
    numbers, answers = judged.targets.astype(np.float64), judged.logits[:, 0].astype(np.float64)
    errors = answers - numbers
    mistakes, others = choose_of_numbers(numbers, errors)
    rows = sorted([*mistakes, *others])
    place = {row: number for number, row in enumerate(rows)}
    asked = judged.labels[0] if judged.labels else "number"
    columns, notes = slices(
        judged.table, np.abs(errors), durations_s, group_column, ERROR, {asked: [float(one) for one in numbers]}
    )

    def said(row: int) -> dict[str, float]:
        return {"number": _rounded(numbers[row]), "answer": _rounded(answers[row]), "error": _rounded(errors[row])}

    return {
        "figures": judged.metrics.to_dict(),
        "extra": {**judged.extra, **judged.custom},
        "asked": asked,
        "points": [
            [_rounded(numbers[row]), _rounded(answers[row]), place.get(row, -1)] for row in _drawn(rows, errors)
        ],
        "errors": errors_histogram(errors),
        "mean_error": _rounded(errors.mean()),
        "mistakes": [place[row] for row in mistakes],
        "examples": heard(name, judged.table, rows, said, judged.trained_on),
        "slices": columns,
        "notes": notes,
        "predictions": f"predictions_{name}.csv",
    }


def _drawn(rows: list[int], errors: np.ndarray) -> list[int]:
    """Rows that are points of the picture: those that can be heard last, above the others, which are drawn by seed."""
    rest = np.setdiff1d(np.arange(len(errors)), rows)
    room = max(0, MOST_POINTS - len(rows))
    if len(rest) > room:
        rest = np.sort(np.random.default_rng(0).choice(rest, room, replace=False))
    return [*rest.tolist(), *rows]


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
