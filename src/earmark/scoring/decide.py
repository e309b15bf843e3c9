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
from earmark.tasks.figures import check_finite
from earmark.text import counted

_CROSS_FITTED = "cross-fitted: each half of the clips by what was fitted on the other"
_SPLIT_FOLDERS = {name for split in SPLIT_NAMES for name in SplitNames().of(split)}
_AT_THE_END = 1.01  # a temperature so near to the ends of the range was cut off there


@dataclass(frozen=True)
class Fitted:
    """What was fitted.

    Attributes:
        decision: for the model. ``notes`` in its ``fitted`` say what was asked for and could not be reached.
        figures: how well it works on clips of the same kind, by cross-fitting: each half of the clips is evaluated with
            what was fitted on the other half.
    """

    decision: Decision
    figures: dict[str, Any]


def check_task_can_fit(settings: DecisionArguments, task: Task) -> None:
    """Check that the settings make sense for the task.

    Raises:
        UsageError: they do not.
    """
    names = ("calibrate", "target_precision", "reject_target_precision", "reject_false_accept_rate", "reject_class")
    asked = [name for name in names if getattr(settings, name) not in (None, False)]
    if asked and (why := task.why_not_fitted(asked)) is not None:
        raise UsageError(why)


def check_can_fit(settings: DecisionArguments, labels: Sequence[str], table: ClipTable | None) -> None:
    """Check, before anything is computed, that there are clips to fit on.

    Args:
        settings: what is asked for.
        labels: the model's classes.
        table: the clips to fit on; ``None`` without any.

    Raises:
        UsageError: no clips, or none of the class to reject.
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
            f"--reject_false_accept_rate: --reject_class {name!r} is no class of the model, so there are no clips of "
            f"it. Use --reject_target_precision."
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
        "data": _short_name(data.origin),
        "clips": windows.num_clips,
        "recordings": fingerprint(data),
        **{name: getattr(settings, name) for name in asked if getattr(settings, name) is not None},
        "cross_fitted": figures,
        **({"notes": notes} if notes else {}),
    }
    return Fitted(replace(decision, fitted=fitted), figures)


def _why_it_stays_one(temperature: float, figures: dict[str, Any]) -> str:
    """Return why a fitted temperature is not used; empty if it is used."""
    none_best = f"no temperature from {COLDEST:g} to {HOTTEST:g} is the best"
    if temperature >= HOTTEST / _AT_THE_END:
        return f"{none_best}, because the model knows these clips too little: it stays 1"
    if temperature <= COLDEST * _AT_THE_END:
        return f"{none_best}, because the logits are too similar: it stays 1"
    if temperature == 1.0 or not figures or figures["calibration_error"] < figures["calibration_error_before"]:
        return ""
    return (
        f"the best temperature, {temperature:.3f}, does not lower the calibration error "
        f"({figures['calibration_error_before']:.4f}, with it {figures['calibration_error']:.4f}): it stays 1"
    )


def _short_name(origin: str) -> str:
    """Return the name of a table without the private part of its path; of a split with its folder."""
    path = Path(origin)
    return f"{path.parent.name}/{path.name}" if path.name in _SPLIT_FOLDERS else path.name


def summary_line(decision: Decision, figures: dict[str, object]) -> str:
    """Return the most important figures, for people."""
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
            parts.append(f"{figures['false_accept_rate']:.4f} of the {name!r} clips predicted as another class")
    judged = figures.get("judged")
    return "; ".join(parts) + (f"; {judged}" if parts and judged else "")


def _precision_and_recall(figures: dict[str, object], which: str) -> str:
    precision, recall = figures[f"precision{which}"], figures[f"recall{which}"]
    given = "no label answered" if precision is None else f"precision {precision:.4f}"
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
    """Return the figures of both halves of the clips, each with what was fitted on the other; empty below two clips."""
    if len(targets) < 2:
        return {}
    task, before = windows.task, Decision(task=windows.task)
    plain = LabelledScores(windows.probabilities(), targets, labels)
    probabilities, answers = plain.scores.copy(), task.decided(plain.scores, labels, before)
    figures_before = task.decision_figures(plain, answers, before)
    halves = _halves(targets)
    for mine, others in (halves, halves[::-1]):
        decision, _ = _fit(windows.of(mine), targets[mine], labels, settings)
        probabilities[others] = windows.of(others).probabilities(decision.temperature)
        answers[others] = task.decided(probabilities[others], labels, decision)
    # only what it is called and that there are thresholds matters here
    name = settings.reject_class or DEFAULT_REJECT_LABEL
    named = Decision(reject_label=name, reject_threshold=0.0 if settings.fits_thresholds else None, task=task)
    return {
        "judged": _CROSS_FITTED,
        **task.decision_figures(LabelledScores(probabilities, targets, labels), answers, named),
        **{f"{key}_before": value for key, value in figures_before.items()},
    }


def _halves(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of two halves that share out the clips of each class, or set of labels, drawn with a fixed seed."""
    if targets.ndim > 1:
        targets = np.unique(targets, axis=0, return_inverse=True)[1].reshape(-1)
    shuffled = np.random.default_rng(0).permutation(len(targets))
    by_class = shuffled[np.argsort(targets[shuffled], kind="stable")]
    return np.sort(by_class[::2]), np.sort(by_class[1::2])
