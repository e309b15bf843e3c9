"""Prepare the learning curves of a report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from earmark.tasks import Task

_POINTS = 400  # maximum number of points of a curve, more than a screen shows


def learning_curves(history: Sequence[Mapping[str, Any]], task: Task) -> list[dict[str, Any]]:
    """Return curves over the epochs, in groups with a common axis.

    Args:
        history: entries of ``history.json``.
        task: task of the model.

    Returns:
        ``{"title", "axis", "curves": [{"name", "points": [[epoch, value], ...]}]}`` without empty curves; ``axis`` is
        the name of the values.
    """
    groups = {
        # A regression trains in standard deviations and validates in the unit of the numbers: they need two axes.
        "Loss": {"training": "loss", **({"validation": "eval_loss"} if task.has_classes else {})},
        "Validation": {name: f"eval_{metric}" for metric, name in task.curves.items()},
        "Learning rate": {"learning rate": "learning_rate"},
    }
    found = []
    for title, curves in groups.items():
        drawn = [{"name": name, "points": _points(history, key)} for name, key in curves.items()]
        drawn = [curve for curve in drawn if len(curve["points"]) > 1]
        if drawn:
            axis = title.lower() if title != "Validation" else ", ".join(str(curve["name"]) for curve in drawn)
            found.append({"title": title, "axis": axis, "curves": drawn})
    return found


def _points(history: Sequence[Mapping[str, Any]], key: str) -> list[list[float]]:
    points = [
        [round(float(entry["epoch"]), 4), float(f"{entry[key]:.5g}")]
        for entry in history
        if isinstance(entry.get(key), int | float) and math.isfinite(entry[key]) and "epoch" in entry
    ]
    kept = points[:: max(1, len(points) // _POINTS)]
    return kept if not points or kept[-1] == points[-1] else [*kept, points[-1]]
