"""Fit the temperature and the threshold of each of several labels; :mod:`earmark.scoring.decide` calls this.

Shapes: N clips, C labels.
"""

from __future__ import annotations

import numpy as np

from earmark.stats.uncertainty import binary_calibration_error, binary_loss
from earmark.tasks.calibration import WindowLogits, assumed_error, best_temperature
from earmark.tasks.decision import LabelledScores
from earmark.tasks.label_thresholds import LabelPredictions, fit_label_thresholds


def fit_label_temperature(windows: WindowLogits, targets: np.ndarray) -> float:
    """Return the temperature with the lowest binary cross-entropy.

    Args:
        windows: the model's uncalibrated logits.
        targets: the true labels, 0 or 1, float (N, C).
    """
    wrong = assumed_error(windows, targets)
    likely = targets * (1 - wrong) + (1 - targets) * wrong
    return best_temperature(lambda at: binary_loss(windows.probabilities(at), likely))


def fit_thresholds_of_labels(clips: LabelledScores, precision: float | None) -> tuple[dict[str, float], list[str]]:
    """Return the threshold of each label, see :func:`earmark.tasks.label_thresholds.fit_label_thresholds`.

    Args:
        clips: the clips to fit on, with the true labels, 0 or 1, (N, C), as targets.
        precision: the precision to reach; ``None`` to fit nothing.
    """
    there = clips.targets > 0.5
    predictions = (
        LabelPredictions(label, clips.scores[:, i], there[:, i], bool(there[:, i].any()), repr(label))
        for i, label in enumerate(clips.labels)
    )
    otherwise = "no label is ever predicted. Lower the target, or train on more clips"
    no_clip = "no clip has that label"
    return fit_label_thresholds(predictions, precision, noun="label", otherwise=otherwise, no_clip=no_clip)


def label_figures(clips: LabelledScores, predicted: np.ndarray) -> dict[str, object]:
    """Return metrics of the predictions of several labels.

    Args:
        clips: clips with the true labels, 0 or 1, (N, C), as targets.
        predicted: the predicted labels, bool (N, C).

    Returns:
        ``calibration_error`` and ``loss``; ``precision`` (``None`` without predictions), ``recall`` and ``micro_f1`` of
        all predictions together; ``exact_match``, the fraction of clips whose labels are all right.
    """
    there = clips.targets > 0.5
    hits, given, wanted = int((there & predicted).sum()), int(predicted.sum()), int(there.sum())
    return {
        "calibration_error": binary_calibration_error(clips.scores.ravel(), there.ravel()),
        "loss": binary_loss(clips.scores, there),
        "precision": hits / given if given else None,
        "recall": hits / wanted if wanted else None,
        "micro_f1": 2 * hits / max(1, given + wanted),
        "exact_match": float((there == predicted).all(axis=1).mean()),
    }
