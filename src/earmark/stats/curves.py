"""Compute histograms and curves of probabilities and errors."""

from __future__ import annotations

import numpy as np

from earmark.stats.uncertainty import calibration_bins, proportion_interval

_BINS = 20
_RECALLS = 100
_ERROR_BINS = 25  # odd, so that one bin is centred at 0


def score_histograms(probabilities: np.ndarray, targets: np.ndarray) -> dict[str, list[int]]:
    """Count the probabilities of right and of wrong predictions in 20 equal bins from 0 to 1."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    return {"right": _counts(confidence[right]), "wrong": _counts(confidence[~right])}


def class_histograms(probabilities: np.ndarray, targets: np.ndarray) -> list[dict[str, list[int]]]:
    """Count the probabilities of each class in 20 equal bins, for its clips and for clips of other classes."""
    return [label_histograms(probabilities[:, i], targets == i) for i in range(probabilities.shape[1])]


def _counts(values: np.ndarray) -> list[int]:
    counts: list[int] = np.histogram(values, _BINS, range=(0, 1))[0].tolist()
    return counts


def label_histograms(probability: np.ndarray, there: np.ndarray) -> dict[str, list[int]]:
    """Count the probabilities (N,) of a label in 20 equal bins, for clips with and without it, bool (N,)."""
    return {"own": _counts(probability[there]), "others": _counts(probability[~there])}


def reliability(probabilities: np.ndarray, targets: np.ndarray) -> list[dict[str, float | int]]:
    """Return the calibration curve: mean probability, accuracy with interval, and number of clips of each bin."""
    return binary_reliability(probabilities.max(axis=1), probabilities.argmax(axis=1) == targets)


def binary_reliability(confidence: np.ndarray, right: np.ndarray) -> list[dict[str, float | int]]:
    """Return :func:`reliability` of probabilities (N,) of an event that did or did not occur, bool (N,)."""
    bins = calibration_bins(confidence)
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


def precision_recall(probability: np.ndarray, there: np.ndarray) -> list[list[float]]:
    """Return the precision-recall curve of a label.

    Args:
        probability: probability of the label, float (N,).
        there: which clips have the label, bool (N,).

    Returns:
        ``[[recall, precision], ...]`` from the highest probability down, at most 102 points; empty if no clip has the
        label.
    """
    if not there.any():
        return []
    order = np.argsort(-probability, kind="stable")
    falling, hits = probability[order], np.cumsum(there[order])
    last = np.flatnonzero(np.append(falling[1:] < falling[:-1], True))  # clips with equal probabilities make one point
    recall, precision = hits[last] / hits[-1], hits[last] / (last + 1)
    kept = np.unique([0, *np.searchsorted(recall, np.linspace(0, 1, _RECALLS + 1))])
    return [[round(float(recall[i]), 4), round(float(precision[i]), 4)] for i in kept]


def errors_histogram(errors: np.ndarray) -> dict[str, object]:
    """Count errors (N,) in 25 equal bins around 0.

    Returns:
        ``{"counts", "reach", "beyond"}``: the bins go from ``-reach`` to ``reach``. The outer bins also hold the
        ``beyond`` clips with larger errors, at most 1 %.
    """
    sizes = np.abs(errors)
    reach, largest = float(np.quantile(sizes, 0.99)), float(sizes.max())
    if largest <= 1.5 * reach or reach == 0:
        reach = largest or 1.0
    counts = np.histogram(np.clip(errors, -reach, reach), _ERROR_BINS, range=(-reach, reach))[0]
    return {"counts": counts.tolist(), "reach": float(f"{reach:.4g}"), "beyond": int((sizes > reach).sum())}
