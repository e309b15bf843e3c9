"""Fit from which probability on each of several labels is answered; :mod:`earmark.scoring.decide` calls this.

Shapes: N clips, C labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from earmark.stats.thresholds import lowest_threshold
from earmark.stats.uncertainty import binary_calibration_error, binary_loss
from earmark.tasks.calibration import WindowLogits, assumed_error, best_temperature
from earmark.tasks.decision import NEVER, WantedThresholds
from earmark.text import and_more

_NAMED = 10  # labels in one line


def fit_label_temperature(windows: WindowLogits, targets: np.ndarray) -> float:
    """Return the temperature at which the binary cross-entropy of the targets is least.

    Args:
        windows: the model's own logits.
        targets: which labels are there, float (N, C).
    """
    wrong = assumed_error(windows, targets)
    likely = targets * (1 - wrong) + (1 - targets) * wrong
    return best_temperature(lambda at: binary_loss(windows.probabilities(at), likely))


def fit_label_thresholds(
    probabilities: np.ndarray, targets: np.ndarray, labels: Sequence[str], settings: WantedThresholds
) -> tuple[dict[str, float], list[str]]:
    """The lowest probability of each label from which on its answers are as precise as asked for.

    Args:
        probabilities: calibrated, float (N, C).
        targets: which labels are there, 0 or 1, (N, C).
        labels: C names.
        settings: for ``target_precision``.

    Returns:
        ``(thresholds, notes)``: by label, :data:`NEVER` where none is high enough; a line for what could not be had.
    """
    precision = settings.target_precision
    if precision is None:
        return {}, []
    thresholds: dict[str, float] = {}
    without, too_low = [], []
    for i, label in enumerate(labels):
        there = targets[:, i] > 0.5
        found = lowest_threshold(probabilities[:, i], there, precision)
        thresholds[label] = NEVER if found is None else found
        if not there.any():
            without.append(repr(label))
        elif found is None:
            too_low.append(repr(label))
    if all(threshold == NEVER for threshold in thresholds.values()):
        return thresholds, [
            f"no label reaches --target_precision {precision:g}: none is ever answered; ask for less, or train on more"
        ]
    notes = []
    if without:
        notes.append(f"never answered, because no clip has that label: {and_more(without, _NAMED)}")
    if too_low:
        notes.append(
            f"never answered, because --target_precision {precision:g} is out of reach: {and_more(too_low, _NAMED)}"
        )
    return thresholds, notes


def label_figures(probabilities: np.ndarray, answered: np.ndarray, targets: np.ndarray) -> dict[str, object]:
    """How good answers of several labels are.

    Args:
        probabilities: calibrated, float (N, C).
        answered: which labels are answered, bool (N, C).
        targets: which are there, 0 or 1, (N, C).

    Returns:
        ``calibration_error`` and ``loss``; of all answers together ``precision`` (``None`` without any), ``recall`` and
        ``micro_f1``; ``exact_match``, the share of clips whose labels are all right.
    """
    there = targets > 0.5
    hits, given, wanted = int((there & answered).sum()), int(answered.sum()), int(there.sum())
    return {
        "calibration_error": binary_calibration_error(probabilities.ravel(), there.ravel()),
        "loss": binary_loss(probabilities, there),
        "precision": hits / given if given else None,
        "recall": hits / wanted if wanted else None,
        "micro_f1": 2 * hits / max(1, given + wanted),
        "exact_match": float((there == answered).all(axis=1).mean()),
    }
