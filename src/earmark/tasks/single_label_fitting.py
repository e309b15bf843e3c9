"""Fit a temperature and thresholds of single labels, and judge them; :mod:`earmark.scoring.decide` calls this.

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
from earmark.tasks.label_thresholds import LabelAnswers, fit_label_thresholds
from earmark.tasks.pooling import log_pool, log_softmax


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
    clips: LabelledScores, wanted: WantedThresholds, decision: Decision
) -> tuple[Decision, list[str]]:
    """Return the decision with thresholds, and a line for what could not be had.

    Args:
        clips: those to fit on; their targets are classes, int64 (N,).
        wanted: what is asked of the answers.
        decision: for the answer below a threshold.
    """
    answers = _Answers(clips, decision.reject_label)
    of_all, of_all_notes = _fit_rejection(answers, wanted)
    of_classes, of_classes_notes = _fit_classes(answers, wanted.target_precision)
    if of_all == NEVER:  # of each class, as no probability says it
        of_all, of_classes = None, {label: NEVER for label in clips.labels if label != decision.reject_label}
    decision = replace(decision, reject_threshold=of_all, class_thresholds=of_classes)
    return decision, of_all_notes + of_classes_notes


def class_decision_figures(clips: LabelledScores, answers: np.ndarray, decision: Decision) -> dict[str, object]:
    """How good answers are.

    Args:
        clips: with their targets as classes, int64 (N,).
        answers: what :meth:`Decision.answers` made of their scores, int64 (N,).
        decision: for its thresholds and the name of what is rejected.

    Returns:
        ``calibration_error`` and ``loss``; with thresholds also ``coverage``, the share of clips that are answered with
        a class other than :attr:`Decision.reject_label`, ``precision``, the share of those that are right (``None``
        without any), ``accuracy``, the share of all clips whose answer is their class, and where the model has a class
        of that name ``false_accept_rate``, the share of its clips that are answered with another one.
    """
    targets, labels = clips.targets, clips.labels
    likelihood = np.maximum(clips.scores[np.arange(len(targets)), targets], np.finfo(np.float64).tiny)
    figures: dict[str, Any] = {
        "calibration_error": calibration_error(clips.scores, targets),
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

    def __init__(self, clips: LabelledScores, reject_label: str) -> None:
        self.targets = targets = clips.targets
        self.labels = labels = clips.labels
        self.reject_label = reject_label
        self.background = list(labels).index(reject_label) if reject_label in labels else REJECTED
        self.first = clips.scores.argmax(axis=1)
        self.scores = clips.scores[np.arange(len(targets)), self.first]
        self.right = self.first == targets

    def of_class(self, number: int) -> LabelAnswers:
        """Return the clips of which this class is the most likely one."""
        mine, label = self.first == number, self.labels[number]
        right = self.right[mine]
        in_words = f"{label!r} ({int(right.sum())} of {len(right)} answers right)"
        return LabelAnswers(label, self.scores[mine], right, bool((self.targets == number).any()), in_words)

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


def _fit_classes(answers: _Answers, precision: float | None) -> tuple[dict[str, float], list[str]]:
    each = (answers.of_class(i) for i in range(len(answers.labels)) if i != answers.background)
    return fit_label_thresholds(
        each, precision, noun="class", otherwise=answers.nothing_else, no_clip="no clip is of that class"
    )
