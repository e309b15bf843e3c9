"""Fit and evaluate temperature and thresholds of single-label models; :mod:`earmark.scoring.decide` calls this.

Shapes: N clips, K windows of them, C classes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from earmark.stats.thresholds import lowest_threshold, threshold_of_false_accepts
from earmark.stats.uncertainty import calibration_error
from earmark.tasks.calibration import WindowLogits, assumed_error, best_temperature
from earmark.tasks.decision import NEVER, REJECTED, Decision, LabelledScores, WantedThresholds
from earmark.tasks.label_thresholds import LabelPredictions, fit_label_thresholds
from earmark.tasks.pooling import log_pool, log_softmax


def fit_class_temperature(windows: WindowLogits, targets: np.ndarray) -> float:
    """Return the temperature with the lowest negative log-likelihood of the targets (Guo et al. 2017, 4.2).

    Args:
        windows: the model's uncalibrated logits.
        targets: class of each clip, int64 (N,).
    """
    total, num_classes = len(targets), windows.logits.shape[1]
    if num_classes == 1:
        return 1.0
    wrong = assumed_error(windows, targets)
    shares = np.full((total, num_classes), wrong / (num_classes - 1))  # spread over the other classes
    shares[np.arange(total), targets] = 1 - wrong
    return best_temperature(lambda at: -float((shares * _log_probabilities(windows, at)).sum()) / total)


def _log_probabilities(windows: WindowLogits, temperature: float) -> np.ndarray:
    """Return the logarithms of the clips' probabilities, float64 (N, C), without underflow."""
    return log_pool(log_softmax(windows.logits.astype(np.float64) / temperature), windows.starts)


def fit_class_thresholds(
    clips: LabelledScores, wanted: WantedThresholds, decision: Decision
) -> tuple[Decision, list[str]]:
    """Return the decision with thresholds, and a line for each target that cannot be reached.

    Args:
        clips: the clips to fit on; their targets are class indices, int64 (N,).
        wanted: the targets that the predictions have to reach.
        decision: a decision without thresholds, which names the reject label.
    """
    predictions = _MostLikely(clips, decision.reject_label)
    of_all, of_all_notes = _fit_rejection(predictions, wanted)
    of_classes, of_classes_notes = _fit_classes(predictions, wanted.target_precision)
    if of_all == NEVER:  # set it for each class instead, because decision.json has no probability for "never"
        of_all, of_classes = None, {label: NEVER for label in clips.labels if label != decision.reject_label}
    decision = replace(decision, reject_threshold=of_all, class_thresholds=of_classes)
    return decision, of_all_notes + of_classes_notes


def class_decision_figures(clips: LabelledScores, predictions: np.ndarray, decision: Decision) -> dict[str, object]:
    """Return metrics of the predictions of a decision.

    Args:
        clips: clips whose targets are class indices, int64 (N,).
        predictions: the result of :meth:`Decision.predictions`, int64 (N,).
        decision: the decision, for its thresholds and its reject label.

    Returns:
        ``calibration_error`` and ``loss``. With thresholds also ``coverage``, the fraction of clips that are not
        rejected; ``precision``, the fraction of these that are right (``None`` without any); ``accuracy``, the fraction
        of all clips that are right; and, if the reject label is a class of the model, ``false_accept_rate``, the
        fraction of the clips of that class that are predicted as another class.
    """
    targets, labels = clips.targets, clips.labels
    likelihood = np.maximum(clips.scores[np.arange(len(targets)), targets], np.finfo(np.float64).tiny)
    metrics: dict[str, Any] = {
        "calibration_error": calibration_error(clips.scores, targets),
        "loss": float(-np.log(likelihood).mean()),
    }
    if not decision.rejects:
        return metrics
    rejected = list(labels).index(decision.reject_label) if decision.reject_label in labels else REJECTED
    predicted = predictions != rejected
    right = predictions == targets
    metrics["coverage"] = float(predicted.mean())
    metrics["precision"] = float(right[predicted].mean()) if predicted.any() else None
    metrics["accuracy"] = float(right.mean())
    background = targets == rejected
    if background.any():
        metrics["false_accept_rate"] = float(predicted[background].mean())
    return metrics


class _MostLikely:
    """The most likely class of each clip, its probability, and whether it is right."""

    def __init__(self, clips: LabelledScores, reject_label: str) -> None:
        self.targets = targets = clips.targets
        self.labels = labels = clips.labels
        self.reject_label = reject_label
        self.background = list(labels).index(reject_label) if reject_label in labels else REJECTED
        self.first = clips.scores.argmax(axis=1)
        self.scores = clips.scores[np.arange(len(targets)), self.first]
        self.right = self.first == targets

    def of_class(self, number: int) -> LabelPredictions:
        """Return the clips whose most likely class is this one."""
        mine, label = self.first == number, self.labels[number]
        right = self.right[mine]
        in_words = f"{label!r} ({int(right.sum())} of {len(right)} predictions right)"
        return LabelPredictions(label, self.scores[mine], right, bool((self.targets == number).any()), in_words)

    @property
    def consequence(self) -> str:
        """The consequence of a target that no class reaches, and a remedy, for notes."""
        return f"every prediction is {self.reject_label!r}. Lower the target, or train on more clips"


def _fit_rejection(predictions: _MostLikely, settings: WantedThresholds) -> tuple[float | None, list[str]]:
    """Return one threshold for all classes, :data:`NEVER` if the target is out of reach."""
    found: list[float] = []
    notes = []
    predicted = predictions.first != predictions.background
    precision, rate = settings.reject_target_precision, settings.reject_false_accept_rate
    if precision is not None:
        threshold = lowest_threshold(predictions.scores[predicted], predictions.right[predicted], precision)
        found.append(NEVER if threshold is None else threshold)
        if threshold is None:
            notes.append(f"no probability reaches --reject_target_precision {precision:g}: {predictions.consequence}")
    if rate is not None:
        of_background = predictions.targets == predictions.background
        wrong = predictions.scores[of_background & predicted]
        threshold = threshold_of_false_accepts(wrong, int(of_background.sum()), rate)
        found.append(NEVER if threshold > 1 else threshold)
        if threshold > 1:
            notes.append(
                f"no probability reaches --reject_false_accept_rate {rate:g}, because the model predicts other classes "
                f"with probability 1 for {predictions.reject_label!r} clips: {predictions.consequence}"
            )
    return (max(found) if found else None), notes


def _fit_classes(predictions: _MostLikely, precision: float | None) -> tuple[dict[str, float], list[str]]:
    each = (predictions.of_class(i) for i in range(len(predictions.labels)) if i != predictions.background)
    return fit_label_thresholds(
        each, precision, noun="class", otherwise=predictions.consequence, no_clip="no clip has that class"
    )
