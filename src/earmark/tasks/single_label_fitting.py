"""Fit a temperature and thresholds of single labels, and judge them; :mod:`earmark.scoring.decide` calls this.

Shapes: N clips, K windows of them, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from earmark.stats.thresholds import lowest_threshold, threshold_of_false_accepts
from earmark.stats.uncertainty import calibration_error
from earmark.tasks.calibration import WindowLogits, assumed_error, best_temperature
from earmark.tasks.decision import NEVER, REJECTED, Decision, WantedThresholds
from earmark.tasks.pooling import log_pool, log_softmax
from earmark.text import and_more

_NAMED = 10  # classes in one line


def fit_class_temperature(windows: WindowLogits, targets: np.ndarray) -> float:
    """Return the temperature at which the negative log-likelihood of the targets is least (Guo et al. 2017, 4.2).

    Args:
        windows: the model's own logits.
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
    """The logarithms of clips' probabilities, float64 (N, C), of which none underflows."""
    return log_pool(log_softmax(windows.logits.astype(np.float64) / temperature), windows.starts)


def fit_class_thresholds(
    probabilities: np.ndarray,
    targets: np.ndarray,
    labels: Sequence[str],
    wanted: WantedThresholds,
    decision: Decision,
) -> tuple[Decision, list[str]]:
    """Return the decision with thresholds, and a line for what could not be had.

    Args:
        probabilities: calibrated, float (N, C).
        targets: class of each clip, int64 (N,).
        labels: the model's classes.
        wanted: what is asked of the answers.
        decision: for the answer below a threshold.
    """
    answers = _Answers(probabilities, targets, labels, decision.reject_label)
    of_all, of_all_notes = _fit_rejection(answers, wanted)
    of_classes, of_classes_notes = _fit_classes(answers, wanted)
    if of_all == NEVER:  # of each class, as no probability says it
        of_all, of_classes = None, {label: NEVER for label in labels if label != decision.reject_label}
    decision = replace(decision, reject_threshold=of_all, class_thresholds=of_classes)
    return decision, of_all_notes + of_classes_notes


def class_decision_figures(
    probabilities: np.ndarray, answers: np.ndarray, targets: np.ndarray, labels: Sequence[str], decision: Decision
) -> dict[str, object]:
    """How good answers are.

    Args:
        probabilities: calibrated, float (N, C).
        answers: what :meth:`Decision.answers` made of them, int64 (N,).
        targets: class of each clip, int64 (N,).
        labels: the model's classes.
        decision: for its thresholds and the name of what is rejected.

    Returns:
        ``calibration_error`` and ``loss``; with thresholds also ``coverage``, the share of clips that are answered with
        a class other than :attr:`Decision.reject_label`, ``precision``, the share of those that are right (``None``
        without any), ``accuracy``, the share of all clips whose answer is their class, and where the model has a class
        of that name ``false_accept_rate``, the share of its clips that are answered with another one.
    """
    rows = np.arange(len(targets))
    likelihood = np.maximum(probabilities[rows, targets], np.finfo(np.float64).tiny)
    figures: dict[str, Any] = {
        "calibration_error": calibration_error(probabilities, targets),
        "loss": float(-np.log(likelihood).mean()),
    }
    if not decision.rejects:
        return figures
    rejected = list(labels).index(decision.reject_label) if decision.reject_label in labels else REJECTED
    answered = answers != rejected
    right = answers == targets
    figures["coverage"] = float(answered.mean())
    figures["precision"] = float(right[answered].mean()) if answered.any() else None
    figures["accuracy"] = float(right.mean())
    background = targets == rejected
    if background.any():
        figures["false_accept_rate"] = float(answered[background].mean())
    return figures


class _Answers:
    """The most likely class of each clip, its probability, and whether it is right."""

    def __init__(
        self, probabilities: np.ndarray, targets: np.ndarray, labels: Sequence[str], reject_label: str
    ) -> None:
        self.targets = targets
        self.labels = labels
        self.reject_label = reject_label
        self.background = list(labels).index(reject_label) if reject_label in labels else REJECTED
        self.first = probabilities.argmax(axis=1)
        self.scores = probabilities[np.arange(len(targets)), self.first]
        self.right = self.first == targets

    @property
    def nothing_else(self) -> str:
        """What comes of a target that no class reaches, in words."""
        return f"whatever it hears, the answer is {self.reject_label!r}; ask for less, or train on more"


def _fit_rejection(answers: _Answers, settings: WantedThresholds) -> tuple[float | None, list[str]]:
    """One threshold for all classes, :data:`NEVER` where what is asked for is out of reach."""
    found: list[float] = []
    notes = []
    answered = answers.first != answers.background
    precision, rate = settings.reject_target_precision, settings.reject_false_accept_rate
    if precision is not None:
        threshold = lowest_threshold(answers.scores[answered], answers.right[answered], precision)
        found.append(NEVER if threshold is None else threshold)
        if threshold is None:
            notes.append(f"no probability reaches --reject_target_precision {precision:g}: {answers.nothing_else}")
    if rate is not None:
        of_background = answers.targets == answers.background
        wrong = answers.scores[of_background & answered]
        threshold = threshold_of_false_accepts(wrong, int(of_background.sum()), rate)
        found.append(NEVER if threshold > 1 else threshold)
        if threshold > 1:
            notes.append(
                f"no probability reaches --reject_false_accept_rate {rate:g}, as {answers.reject_label!r} clips are "
                f"taken for others with certainty: {answers.nothing_else}"
            )
    return (max(found) if found else None), notes


def _fit_classes(answers: _Answers, settings: WantedThresholds) -> tuple[dict[str, float], list[str]]:
    precision = settings.target_precision
    if precision is None:
        return {}, []
    thresholds: dict[str, float] = {}
    too_low, without = [], []
    for i, label in enumerate(answers.labels):
        if i == answers.background:
            continue
        mine = answers.first == i
        threshold = lowest_threshold(answers.scores[mine], answers.right[mine], precision)
        thresholds[label] = NEVER if threshold is None else threshold
        if not (answers.targets == i).any():
            without.append(repr(label))
        elif threshold is None:
            right = int(answers.right[mine].sum())
            too_low.append(f"{label!r} ({right} of {int(mine.sum())} answers right)")
    if all(threshold == NEVER for threshold in thresholds.values()):
        return thresholds, [f"no class reaches --target_precision {precision:g}: {answers.nothing_else}"]
    notes = []
    if without:
        notes.append(f"never answered, because no clip is of that class: {and_more(without, _NAMED)}")
    if too_low:
        notes.append(
            f"never answered, because --target_precision {precision:g} is out of reach: {and_more(too_low, _NAMED)}"
        )
    return thresholds, notes
