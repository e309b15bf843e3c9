"""Fit temperature and thresholds on labelled clips, and evaluate them on clips they were not fitted on.

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
from earmark.tasks import Task
from earmark.tasks.calibration import COLDEST, HOTTEST, WindowLogits, assumed_error
from earmark.tasks.decision import DEFAULT_REJECT_LABEL, Decision, LabelledScores
from earmark.text import counted

_CROSS_FITTED = "cross-fitted: each half of the clips is evaluated with values fitted on the other half"
_SPLIT_FOLDERS = {name for split in SPLIT_NAMES for name in SplitNames().of(split)}
_AT_THE_END = 1.01  # a temperature within 1 % of a limit of the search range counts as being at the limit


@dataclass(frozen=True)
class Fitted:
    """A fitted decision.

    Attributes:
        decision: the decision. ``notes`` in its ``fitted`` list the targets that could not be reached.
        metrics: cross-fitted metrics: each half of the clips is evaluated with a decision fitted on the other half.
    """

    decision: Decision
    metrics: dict[str, Any]


def check_task_can_fit(settings: DecisionArguments, task: Task) -> None:
    """Check that the settings apply to the task.

    Raises:
        UsageError: they do not apply.
    """
    names = ("calibrate", "target_precision", "reject_target_precision", "reject_false_accept_rate", "reject_class")
    asked = [name for name in names if getattr(settings, name) not in (None, False)]
    if asked and (why := task.why_not_fitted(asked)) is not None:
        raise UsageError(why)


def check_can_fit(settings: DecisionArguments, labels: Sequence[str], table: ClipTable | None) -> None:
    """Check, before anything is computed, that there are clips to fit on.

    Args:
        settings: the decision settings.
        labels: the model's classes.
        table: the clips to fit on; ``None`` if there are none.

    Raises:
        UsageError: there are no clips, or none of the class to reject.
    """
    there = set(table.labels()) if table is not None else set()
    if settings.fits_anything and not there:
        raise UsageError(
            "no validation clips to fit a temperature or thresholds on. Add validation clips, or leave these flags out."
        )
    if settings.reject_false_accept_rate is None:
        return
    name = settings.reject_class
    if name not in labels:
        raise UsageError(
            f"--reject_false_accept_rate: --reject_class {name!r} is not a class of the model, so no clips have it. "
            f"Use --reject_target_precision."
        )
    if name not in there:
        raise UsageError(f"--reject_false_accept_rate: no validation clips of --reject_class {name!r}. Add some.")


def fit_decision(
    windows: WindowLogits,
    targets: np.ndarray,
    labels: Sequence[str],
    settings: DecisionArguments,
    *,
    split: str,
    data: ClipTable,
) -> Fitted:
    """Fit the temperature and thresholds that the settings ask for.

    The temperature minimises the loss, which does not always lower the calibration error. The temperature stays 1 if
    cross-fitting shows no lower calibration error, or if the best temperature is a limit of the search range.

    Args:
        windows: uncalibrated logits of N clips.
        targets: class of each clip, int64 (N,), or the true labels, float32 (N, C).
        labels: the model's classes.
        settings: the decision settings; see :func:`check_can_fit`.
        split: name of the clips' split, saved with the decision.
        data: the clips; the decision saves a fingerprint of their recordings.

    Raises:
        ModelError: logits are NaN or infinite.
    """
    # these may be all settings of a training run, which replace() would check again: keep only the decision settings
    settings = DecisionArguments(**{one.name: getattr(settings, one.name) for one in fields(DecisionArguments)})
    decision, notes = _fit(windows, targets, labels, settings)
    metrics = _cross_fitted(windows, targets, labels, settings)
    note = _why_unused(decision.temperature, metrics)
    if note:
        settings = replace(settings, calibrate=False)
        decision, notes = _fit(windows, targets, labels, settings)
        metrics = _cross_fitted(windows, targets, labels, settings)
        notes = [note, *notes]
    asked = ("target_precision", "reject_target_precision", "reject_false_accept_rate")
    fitted = {
        "split": split,
        "data": _short_name(data.origin),
        "clips": windows.num_clips,
        "recordings": fingerprint(data),
        **{name: getattr(settings, name) for name in asked if getattr(settings, name) is not None},
        "cross_fitted": metrics,
        **({"notes": notes} if notes else {}),
    }
    return Fitted(replace(decision, fitted=fitted), metrics)


def _why_unused(temperature: float, metrics: dict[str, Any]) -> str:
    """Return why a fitted temperature is not used; empty if it is used."""
    at_limit = f"the temperature stays 1, because the best one is not between {COLDEST:g} and {HOTTEST:g}"
    if temperature >= HOTTEST / _AT_THE_END:
        return f"{at_limit}: the model predicts these clips too badly"
    if temperature <= COLDEST * _AT_THE_END:
        return f"{at_limit}: the logits are too similar"
    if temperature == 1.0 or not metrics or metrics["calibration_error"] < metrics["calibration_error_before"]:
        return ""
    return (
        f"the temperature stays 1, because the best one, {temperature:.3f}, does not lower the calibration error "
        f"({metrics['calibration_error_before']:.4f} before, {metrics['calibration_error']:.4f} after)"
    )


def _short_name(origin: str) -> str:
    """Return the name of a table without the private part of its path; a split keeps the name of its folder."""
    path = Path(origin)
    return f"{path.parent.name}/{path.name}" if path.name in _SPLIT_FOLDERS else path.name


def summary_line(decision: Decision, metrics: dict[str, object]) -> str:
    """Return the most important metrics as one line of text."""
    parts: list[str] = []
    if "micro_f1" in metrics and decision.has_thresholds:
        parts.append(f"labels at their thresholds: {_precision_and_recall(metrics, '')}")
        if "recall_before" in metrics:
            parts[-1] += f" (at 0.5: {_precision_and_recall(metrics, '_before')})"
    if decision.temperature != 1.0 and metrics:
        before = metrics.get("calibration_error_before")
        was = "" if before is None else f" (before: {before:.4f})"
        parts.append(
            f"temperature {decision.temperature:.3f}, calibration error {metrics['calibration_error']:.4f}{was}"
        )
    if "coverage" in metrics:
        precision = metrics["precision"]
        of_these = "" if precision is None else f", {precision:.4f} of these correctly"
        rejected = f"the others are {decision.reject_label!r}"
        parts.append(f"predicts a class for {metrics['coverage']:.4f} of the clips{of_these}; {rejected}")
        if "false_accept_rate" in metrics:
            name = decision.reject_label
            parts.append(f"predicts another class for {metrics['false_accept_rate']:.4f} of the {name!r} clips")
    judged = metrics.get("judged")
    return "; ".join(parts) + (f"; {judged}" if parts and judged else "")


def _precision_and_recall(metrics: dict[str, object], which: str) -> str:
    precision, recall = metrics[f"precision{which}"], metrics[f"recall{which}"]
    given = "no label predicted" if precision is None else f"precision {precision:.4f}"
    return f"{given}, recall {recall or 0:.4f}"


def _fit(
    windows: WindowLogits, targets: np.ndarray, labels: Sequence[str], settings: DecisionArguments
) -> tuple[Decision, list[str]]:
    task, notes = windows.task, []
    temperature = task.fit_temperature(windows, targets) if settings.calibrate else 1.0
    if settings.calibrate and assumed_error(windows, targets):
        notes.append(
            f"no mistake on {counted(len(targets), 'clip')}: the temperature is fitted as if one clip were wrong"
        )
    decision = Decision(temperature, reject_label=settings.reject_class or DEFAULT_REJECT_LABEL, task=task)
    if not settings.fits_thresholds:
        return decision, notes
    clips = LabelledScores(windows.probabilities(temperature), targets, labels)
    decision, more = task.fit_thresholds(clips, settings, decision)
    return decision, notes + more


def _cross_fitted(
    windows: WindowLogits, targets: np.ndarray, labels: Sequence[str], settings: DecisionArguments
) -> dict[str, object]:
    """Return cross-fitted metrics, each half evaluated with a fit on the other half; empty below two clips."""
    if len(targets) < 2:
        return {}
    task, before = windows.task, Decision(task=windows.task)
    plain = LabelledScores(windows.probabilities(), targets, labels)
    probabilities, predictions = plain.scores.copy(), task.decided(plain.scores, labels, before)
    figures_before = task.decision_figures(plain, predictions, before)
    halves = _halves(targets)
    for mine, others in (halves, halves[::-1]):
        decision, _ = _fit(windows.of(mine), targets[mine], labels, settings)
        probabilities[others] = windows.of(others).probabilities(decision.temperature)
        predictions[others] = task.decided(probabilities[others], labels, decision)
    # the metrics depend on the reject label and on whether there are thresholds, not on their values
    name = settings.reject_class or DEFAULT_REJECT_LABEL
    named = Decision(reject_label=name, reject_threshold=0.0 if settings.fits_thresholds else None, task=task)
    return {
        "judged": _CROSS_FITTED,
        **task.decision_figures(LabelledScores(probabilities, targets, labels), predictions, named),
        **{f"{key}_before": value for key, value in figures_before.items()},
    }


def _halves(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of two random halves, stratified by class or set of labels, with a fixed seed."""
    if targets.ndim > 1:
        targets = np.unique(targets, axis=0, return_inverse=True)[1].reshape(-1)
    shuffled = np.random.default_rng(0).permutation(len(targets))
    by_class = shuffled[np.argsort(targets[shuffled], kind="stable")]
    return np.sort(by_class[::2]), np.sort(by_class[1::2])
