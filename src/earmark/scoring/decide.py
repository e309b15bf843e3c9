"""Fit how a model answers on labelled clips, and judge that by clips it was not fitted on.

Shapes: N clips, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from earmark.clips.clip import ClipTable, fingerprint
from earmark.clips.split_names import SPLIT_NAMES, SplitNames
from earmark.errors import UsageError
from earmark.settings.training_flags import DecisionArguments
from earmark.stats.thresholds import lowest_threshold, threshold_of_false_accepts
from earmark.stats.uncertainty import calibration_error
from earmark.tasks import Task
from earmark.tasks.calibration import COLDEST, HOTTEST, WindowLogits, all_right, fit_temperature
from earmark.tasks.decision import DEFAULT_REJECT_LABEL, HALF, NEVER, REJECTED, Decision
from earmark.tasks.figures import check_finite
from earmark.tasks.multi_label_fitting import few, fit_label_thresholds, label_figures
from earmark.words import counted

_CROSS_FITTED = "cross-fitted: each half of the clips by what was fitted on the other"
_SPLIT_FOLDERS = {name for split in SPLIT_NAMES for name in SplitNames().of(split)}
_AT_THE_END = 1.01  # a temperature so near to the ends of the range was cut off there


@dataclass(frozen=True)
class Fitted:
    """What was fitted.

    Attributes:
        decision: for the model. ``notes`` in its ``fitted`` are there for what was asked for and could not be had.
        figures: how well it does on clips of the same kind, by cross-fitting: each half of the clips is judged by what
            was fitted on the other half.
    """

    decision: Decision
    figures: dict[str, Any]


def check_task_can_fit(settings: DecisionArguments, task: Task) -> None:
    """See that what is asked for means something to the task.

    Raises:
        UsageError: it does not.
    """
    if task is Task.REGRESSION and settings.fits_anything:
        raise UsageError("a number has no probability to calibrate and no threshold; leave these flags out")
    rejecting = ("reject_target_precision", "reject_false_accept_rate", "reject_class")
    asked = [name for name in rejecting if getattr(settings, name) is not None]
    if task is Task.MULTI_LABEL and asked:
        raise UsageError(
            f"--{asked[0]}: where none of several labels reaches its threshold the answer is none of them already; "
            "--target_precision fits the thresholds"
        )


def check_can_fit(settings: DecisionArguments, labels: Sequence[str], table: ClipTable | None) -> None:
    """See before anything is computed that there are clips to fit on.

    Args:
        settings: what is asked for.
        labels: the model's classes.
        table: the clips to fit on; ``None`` without any.

    Raises:
        UsageError: no clips, or none of the class that is to be told from all others.
    """
    there = set(table.labels()) if table is not None else set()
    if settings.fits_anything and not there:
        raise UsageError("no validation clips to fit a temperature or thresholds on; give some, or leave that out")
    if settings.reject_false_accept_rate is None:
        return
    name = settings.reject_class
    if name not in labels:
        raise UsageError(
            f"--reject_false_accept_rate: --reject_class {name!r} is no class of the model, so that no clips of it are "
            "known; use --reject_target_precision"
        )
    if name not in there:
        raise UsageError(f"--reject_false_accept_rate: no validation clips of --reject_class {name!r}")


def fit_decision(
    windows: WindowLogits,
    targets: np.ndarray,
    labels: Sequence[str],
    settings: DecisionArguments,
    *,
    split: str,
    data: ClipTable,
) -> Fitted:
    """Fit temperature and thresholds, as far as they are asked for.

    A temperature makes the targets most likely, which need not lower the calibration error: where cross-fitting shows
    that it does not, it stays 1, and likewise where the best one lies at an end of the range that is looked at.

    Args:
        windows: the model's own logits of N clips.
        targets: class of each clip, int64 (N,), or which labels are there, float32 (N, C).
        labels: the model's classes.
        settings: what is asked for; see :func:`check_can_fit`.
        split: name of these clips' split, to be saved.
        data: the clips themselves; what tells them from others is saved.

    Raises:
        ModelError: logits that are NaN or infinite.
    """
    check_finite(windows.logits, "windows of clips")
    # of training settings, which check themselves again whenever they are copied, these alone
    settings = DecisionArguments(**{one.name: getattr(settings, one.name) for one in fields(DecisionArguments)})
    decision, notes = _fit(windows, targets, labels, settings)
    figures = _cross_fitted(windows, targets, labels, settings)
    note = _why_it_stays_one(decision.temperature, figures)
    if note:
        settings = replace(settings, calibrate=False)
        decision, notes = _fit(windows, targets, labels, settings)
        figures = _cross_fitted(windows, targets, labels, settings)
        notes = [note, *notes]
    asked = ("target_precision", "reject_target_precision", "reject_false_accept_rate")
    fitted = {
        "split": split,
        "data": _name_of(data.origin),
        "clips": windows.num_clips,
        "recordings": fingerprint(data),
        **{name: getattr(settings, name) for name in asked if getattr(settings, name) is not None},
        "cross_fitted": figures,
        **({"notes": notes} if notes else {}),
    }
    return Fitted(replace(decision, fitted=fitted), figures)


def _why_it_stays_one(temperature: float, figures: dict[str, Any]) -> str:
    """Why a temperature that was fitted is not used, in words; empty where it is."""
    none_best = f"no temperature from {COLDEST:g} to {HOTTEST:g} is the best"
    if temperature >= HOTTEST / _AT_THE_END:
        return f"{none_best}, as the model knows these clips too little: it stays 1"
    if temperature <= COLDEST * _AT_THE_END:
        return f"{none_best}, as the logits are too much alike: it stays 1"
    if temperature == 1.0 or not figures or figures["calibration_error"] < figures["calibration_error_before"]:
        return ""
    return (
        f"the best temperature, {temperature:.3f}, does not lower the calibration error "
        f"({figures['calibration_error_before']:.4f}, with it {figures['calibration_error']:.4f}): it stays 1"
    )


def _name_of(origin: str) -> str:
    """A table's last name, and the one above where that is a split's only; where it lies is nobody's business."""
    path = Path(origin)
    return f"{path.parent.name}/{path.name}" if path.name in _SPLIT_FOLDERS else path.name


def decision_figures(
    probabilities: np.ndarray, answers: np.ndarray, targets: np.ndarray, labels: Sequence[str], decision: Decision
) -> dict[str, Any]:
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


def summary_line(decision: Decision, figures: dict[str, Any]) -> str:
    """What a person looks for first."""
    parts: list[str] = []
    if "micro_f1" in figures and decision.has_thresholds:
        parts.append(f"labels at their thresholds: {_precision_and_recall(figures, '')}")
        if "recall_before" in figures:
            parts[-1] += f" (at one half: {_precision_and_recall(figures, '_before')})"
    if decision.temperature != 1.0 and figures:
        before = figures.get("calibration_error_before")
        was = "" if before is None else f" (without it {before:.4f})"
        parts.append(
            f"temperature {decision.temperature:.3f}, calibration error {figures['calibration_error']:.4f}{was}"
        )
    if "coverage" in figures:
        precision = figures["precision"]
        of_these = "" if precision is None else f", {precision:.4f} of these right"
        parts.append(f"{figures['coverage']:.4f} of the clips answered{of_these}, else {decision.reject_label!r}")
        if "false_accept_rate" in figures:
            name = decision.reject_label
            parts.append(f"{figures['false_accept_rate']:.4f} of the {name!r} clips taken for another class")
    judged = figures.get("judged")
    return "; ".join(parts) + (f"; {judged}" if parts and judged else "")


def _precision_and_recall(figures: dict[str, Any], which: str) -> str:
    precision, recall = figures[f"precision{which}"], figures[f"recall{which}"]
    given = "no label answered" if precision is None else f"precision {precision:.4f}"
    return f"{given}, recall {recall or 0:.4f}"


def _fit(
    windows: WindowLogits, targets: np.ndarray, labels: Sequence[str], settings: DecisionArguments
) -> tuple[Decision, list[str]]:
    notes: list[str] = []
    temperature = fit_temperature(windows, targets) if settings.calibrate else 1.0
    if settings.calibrate and all_right(windows, targets):
        notes.append(
            f"no mistake on {counted(len(targets), 'clip')}; for the temperature, one error in so many is assumed"
        )
    decision = Decision(temperature, reject_label=settings.reject_class or DEFAULT_REJECT_LABEL, task=windows.task)
    if not settings.fits_thresholds:
        return decision, notes
    if windows.task is Task.MULTI_LABEL:
        thresholds, more = fit_label_thresholds(windows.probabilities(temperature), targets, labels, settings)
        return replace(decision, class_thresholds=thresholds), notes + more
    probabilities = np.exp(windows.log_probabilities(temperature))
    answers = _Answers(probabilities, targets, labels, decision.reject_label)
    of_all, of_all_notes = _fit_rejection(answers, settings)
    of_classes, of_classes_notes = _fit_classes(answers, settings)
    if of_all == NEVER:  # of each class, as no probability says it
        of_all, of_classes = None, {label: NEVER for label in labels if label != decision.reject_label}
    decision = replace(decision, reject_threshold=of_all, class_thresholds=of_classes)
    return decision, notes + of_all_notes + of_classes_notes


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


def _fit_rejection(answers: _Answers, settings: DecisionArguments) -> tuple[float | None, list[str]]:
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


def _fit_classes(answers: _Answers, settings: DecisionArguments) -> tuple[dict[str, float], list[str]]:
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
        notes.append(f"never answered, because no clip is of that class: {few(without)}")
    if too_low:
        notes.append(f"never answered, because --target_precision {precision:g} is out of reach: {few(too_low)}")
    return thresholds, notes


def _cross_fitted(
    windows: WindowLogits, targets: np.ndarray, labels: Sequence[str], settings: DecisionArguments
) -> dict[str, Any]:
    """Figures of each half of the clips under what was fitted on the other; empty for fewer than two clips."""
    total = len(targets)
    if total < 2:
        return {}
    halves = _halves(targets)
    if windows.task is Task.MULTI_LABEL:
        return {"judged": _CROSS_FITTED, **_cross_fitted_labels(windows, targets, labels, settings, halves)}
    probabilities = np.empty((total, len(labels)))
    answers = np.empty(total, dtype=np.int64)
    name = settings.reject_class or DEFAULT_REJECT_LABEL
    for mine, others in (halves, halves[::-1]):
        decision, _ = _fit(windows.of(mine), targets[mine], labels, settings)
        probabilities[others] = np.exp(windows.of(others).log_probabilities(decision.temperature))
        answers[others] = decision.answers(probabilities[others], labels)
    # only what it is called and that there are thresholds matters here
    named = Decision(reject_label=name, reject_threshold=0.0 if settings.fits_thresholds else None)
    figures = decision_figures(probabilities, answers, targets, labels, named)
    plain = np.exp(windows.log_probabilities())
    before = decision_figures(plain, answers, targets, labels, Decision())
    return {
        "judged": _CROSS_FITTED,
        **figures,
        **{f"{key}_before": value for key, value in before.items()},
    }


def _cross_fitted_labels(
    windows: WindowLogits,
    targets: np.ndarray,
    labels: Sequence[str],
    settings: DecisionArguments,
    halves: tuple[np.ndarray, np.ndarray],
) -> dict[str, Any]:
    """The same where several labels may be there."""
    probabilities = np.empty((len(targets), len(labels)))
    answered = np.empty((len(targets), len(labels)), dtype=bool)
    for mine, others in (halves, halves[::-1]):
        decision, _ = _fit(windows.of(mine), targets[mine], labels, settings)
        probabilities[others] = windows.of(others).probabilities(decision.temperature)
        answered[others] = decision.present(probabilities[others], labels)
    plain = windows.probabilities()
    before = label_figures(plain, plain >= HALF, targets)
    return {
        **label_figures(probabilities, answered, targets),
        **{f"{key}_before": value for key, value in before.items()},
    }


def _halves(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of two halves that share out the clips of each class, or set of labels, drawn with a fixed seed."""
    if targets.ndim > 1:
        targets = np.unique(targets, axis=0, return_inverse=True)[1].reshape(-1)
    shuffled = np.random.default_rng(0).permutation(len(targets))
    by_class = shuffled[np.argsort(targets[shuffled], kind="stable")]
    return np.sort(by_class[::2]), np.sort(by_class[1::2])
