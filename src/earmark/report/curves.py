"""Numbers behind the page's curves: how sure answers are, how right they are, and how training went."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from earmark.scoring.uncertainty import proportion_interval

_BINS = 20
_RELIABILITY_BINS = 15  # those of the calibration error
_POINTS = 400  # of a curve: more than a screen shows


def score_histograms(probabilities: np.ndarray, targets: np.ndarray) -> dict[str, list[int]]:
    """How probable the answers were, over 20 equal bins from 0 to 1: of right and of wrong answers."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    return {"right": _counts(confidence[right]), "wrong": _counts(confidence[~right])}


def class_histograms(probabilities: np.ndarray, targets: np.ndarray) -> list[dict[str, list[int]]]:
    """Each class's probability, over 20 equal bins: for its own clips and for those of other classes."""
    return [
        {"own": _counts(probabilities[targets == i, i]), "others": _counts(probabilities[targets != i, i])}
        for i in range(probabilities.shape[1])
    ]


def _counts(values: np.ndarray) -> list[int]:
    counts: list[int] = np.histogram(values, _BINS, range=(0, 1))[0].tolist()
    return counts


def reliability(probabilities: np.ndarray, targets: np.ndarray) -> list[dict[str, float | int]]:
    """The calibration curve: of each bin with clips, its mean probability, its accuracy with interval, its clips."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    bins = np.minimum((confidence * _RELIABILITY_BINS).astype(int), _RELIABILITY_BINS - 1)
    points: list[dict[str, float | int]] = []
    for number in np.unique(bins):
        inside = bins == number
        interval = proportion_interval(int(right[inside].sum()), int(inside.sum()))
        points.append(
            {
                "probability": round(float(confidence[inside].mean()), 4),
                "accuracy": round(float(right[inside].mean()), 4),
                "low": round(interval.low, 4),
                "high": round(interval.high, 4),
                "clips": int(inside.sum()),
            }
        )
    return points


def learning_curves(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Curves over the epochs, in groups that share an axis.

    Args:
        history: entries of ``history.json``.

    Returns:
        ``{"title", "curves": [{"name", "points": [[epoch, value], ...]}]}``, without empty ones.
    """
    groups = {
        "Loss": {"training": "loss", "validation": "eval_loss"},
        "Validation": {"accuracy": "eval_accuracy", "macro-F1": "eval_macro_f1"},
        "Learning rate": {"learning rate": "learning_rate"},
    }
    found = []
    for title, curves in groups.items():
        drawn = [{"name": name, "points": _points(history, key)} for name, key in curves.items()]
        drawn = [curve for curve in drawn if len(curve["points"]) > 1]
        if drawn:
            found.append({"title": title, "curves": drawn})
    return found


def _points(history: Sequence[Mapping[str, Any]], key: str) -> list[list[float]]:
    points = [
        [round(float(entry["epoch"]), 4), float(f"{entry[key]:.5g}")]
        for entry in history
        if isinstance(entry.get(key), int | float) and math.isfinite(entry[key]) and "epoch" in entry
    ]
    kept = points[:: max(1, len(points) // _POINTS)]
    return kept if not points or kept[-1] == points[-1] else [*kept, points[-1]]
