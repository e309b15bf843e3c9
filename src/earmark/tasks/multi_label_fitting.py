"""Fit from which probability on each of several labels is answered; :mod:`earmark.scoring.decide` calls this.

Shapes: N clips, C labels.
"""

from __future__ import annotations

import numpy as np

from earmark.stats.uncertainty import binary_calibration_error, binary_loss
from earmark.tasks.calibration import WindowLogits, assumed_error, best_temperature
from earmark.tasks.decision import LabelledScores
from earmark.tasks.label_thresholds import LabelAnswers, fit_label_thresholds


def fit_label_temperature(windows: WindowLogits, targets: np.ndarray) -> float:
    """Return the temperature at which the binary cross-entropy of the targets is least.

    Args:
        windows: the model's own logits.
        targets: which labels are there, float (N, C).
    """
    wrong = assumed_error(windows, targets)
    likely = targets * (1 - wrong) + (1 - targets) * wrong
    return best_temperature(lambda at: binary_loss(windows.probabilities(at), likely))


def fit_thresholds_of_labels(clips: LabelledScores, precision: float | None) -> tuple[dict[str, float], list[str]]:
    """Return the threshold of each label, see :func:`earmark.tasks.label_thresholds.fit_label_thresholds`.

    Args:
        clips: those to fit on; their targets say which labels are there, 0 or 1, (N, C).
        precision: what is asked for; ``None`` if nothing is.
    """
    there = clips.targets > 0.5
    answers = (
        LabelAnswers(label, clips.scores[:, i], there[:, i], bool(there[:, i].any()), repr(label))
        for i, label in enumerate(clips.labels)
    )
    otherwise = "none is ever answered; ask for less, or train on more"
    return fit_label_thresholds(answers, precision, noun="label", otherwise=otherwise, no_clip="no clip has that label")


def label_figures(clips: LabelledScores, answered: np.ndarray) -> dict[str, object]:
    """How good answers of several labels are.

    Args:
        clips: with targets that say which labels are there, 0 or 1, (N, C).
        answered: which labels are answered, bool (N, C).

    Returns:
        ``calibration_error`` and ``loss``; of all answers together ``precision`` (``None`` without any), ``recall`` and
        ``micro_f1``; ``exact_match``, the share of clips whose labels are all right.
    """
    there = clips.targets > 0.5
    hits, given, wanted = int((there & answered).sum()), int(answered.sum()), int(there.sum())
    return {
        "calibration_error": binary_calibration_error(clips.scores.ravel(), there.ravel()),
        "loss": binary_loss(clips.scores, there),
        "precision": hits / given if given else None,
        "recall": hits / wanted if wanted else None,
        "micro_f1": 2 * hits / max(1, given + wanted),
        "exact_match": float((there == answered).all(axis=1).mean()),
    }
