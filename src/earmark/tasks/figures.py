"""The common interface of the metrics of all tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from earmark.errors import DataError, UsageError
from earmark.stats.uncertainty import Interval, Units
from earmark.tasks import Task, task_registry
from earmark.tasks.finite import check_finite
from earmark.text import counted


def metric_key(metric: str | None) -> str:
    """Return the key in ``metrics.json`` of a metric that Transformers calls ``eval_KEY``, or ``None`` for the loss."""
    return (metric or "loss").removeprefix("eval_")


def higher_is_better(metric: str) -> bool | None:
    """Return whether a higher value of ``metric`` is better; ``None`` for a metric that no task has.

    A metric has the same direction in every task.
    """
    return next((task.metrics[metric] for task in task_registry.TASKS if metric in task.metrics), None)


def check_direction(task: Task, metric: str, direction: bool | None, *, has_folder: bool = False) -> bool:
    """Return whether a higher value of ``metric`` is better.

    Args:
        task: the task of the model.
        metric: the key in ``metrics.json``.
        direction: ``--greater_is_better``; ``None`` if it was not given.
        has_folder: whether ``--metric`` names a folder, whose metrics are known only after it has run.

    Raises:
        UsageError: the task has no such metric, or ``direction`` contradicts the metric.
    """
    known = task.metrics.get(metric)
    if known is None:
        if not has_folder:
            raise UsageError(
                f"--metric_for_best_model {metric}: not a metric of this task ({task.in_words}). "
                f"Choose one of {', '.join(task.metrics)}."
            )
        if direction is None:
            raise UsageError(
                f"--metric_for_best_model {metric}: is a higher value better? "
                "Add --greater_is_better True or --greater_is_better False."
            )
        return direction
    if direction is not None and direction != known:
        raise UsageError(
            f"--greater_is_better {direction}: {metric} is better when it is {'higher' if known else 'lower'}. "
            f"Set --greater_is_better {known}."
        )
    return known


@dataclass(frozen=True)
class Headline:
    """The headline metric of a result.

    Attributes:
        name: its key in ``metrics.json``.
        title: its name in tables and messages.
        value: its value.
        baseline: the value that predictions reach without the audio, such as the majority-class rate.
    """

    name: str
    title: str
    value: float
    baseline: float

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher value is better."""
        direction = higher_is_better(self.name)
        assert direction is not None, f"{self.name} is not a metric of any task"
        return direction


@dataclass(frozen=True)
class CardTable:
    """The metrics of a split as a model card shows them.

    Attributes:
        figures: values by the headings of the card.
        explained: a sentence that explains the baseline.
        hub: the metrics that the hub lists, ``(title, value)`` by the hub's name.
        heads: headings of the table of classes; empty if there is no such table.
        rows: rows of that table.
    """

    figures: Mapping[str, float | None]
    explained: str
    hub: Mapping[str, tuple[str, float]]
    heads: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = field(default_factory=list)


class Figures(Protocol):
    """The metrics of a scored split, for any task."""

    @property
    def num_clips(self) -> int:
        """Number of clips of the split."""

    @property
    def headline(self) -> Headline:
        """The main metric."""

    @property
    def intervals(self) -> Mapping[str, Interval]:
        """95 % intervals of some metrics, by name."""

    def to_dict(self) -> dict[str, object]:
        """Return plain values for ``metrics.json``."""

    def summary_lines(self) -> list[str]:
        """Return the most important metrics as lines of text."""

    def card_table(self) -> CardTable:
        """Return the metrics for a model card."""

    def finding(self) -> str | None:
        """Return a sentence if the result is not clearly better than its baseline, else ``None``."""


def units_to_judge(logits: np.ndarray, num_clips: int, units: Units | None) -> Units:
    """Return the units for confidence intervals, after checking that there are clips with finite logits.

    Args:
        logits: float (N, C).
        num_clips: N.
        units: groups that intervals treat as a whole; ``None`` for single clips.

    Raises:
        DataError: no clips.
        ModelError: logits that are NaN or infinite.
    """
    if not num_clips:
        raise DataError("no clips to evaluate a model on. Add some.")
    check_finite(logits, "clip")
    return units or Units(num_clips)


# A model that beats the baseline by less than this has hardly begun to learn.
BARELY = 0.02


def against_baseline(
    figures: Figures, head: Headline, what: str, *, only_width: bool = False, digits: str = ".4f"
) -> str | None:
    """Compare a headline with its baseline, by its 95 % interval.

    Args:
        figures: metrics of a split.
        head: their headline, with the baseline to compare with.
        what: names the baseline.
        only_width: whether only the width of the interval is reliable, because the bootstrap shifts it.
        digits: format of the values.

    Returns:
        A sentence, or ``None`` if the headline clearly beats the baseline.
    """
    sign = 1 if head.higher_is_better else -1
    interval = figures.intervals.get(head.name)
    if interval is None:  # left out if there are many clips and labels; then any clear difference is significant
        worst = head.value - sign * BARELY * abs(head.baseline)
    elif only_width:
        worst = head.value - (interval.high - interval.low) / 2
    else:
        worst = interval.low if sign > 0 else interval.high
    if sign * (worst - head.baseline) > 0:
        return None
    within = "" if interval is None else f" (95 % interval {interval.low:{digits}} to {interval.high:{digits}})"
    value = f"{head.title} {head.value:{digits}}{within} on {counted(figures.num_clips, 'clip')}"
    if sign * (head.value - head.baseline) > 0:
        return (
            f"{value} is better than {head.baseline:{digits}}, {what}, but the difference may be chance: the model may "
            "have learned little, or there are too few clips to judge it."
        )
    return (
        f"{value} does not beat {head.baseline:{digits}}, {what}: the model has learned little or nothing about "
        "these clips."
    )


def figure(value: float | None) -> str:
    """Return a fraction with three digits, or an empty text if it is undefined."""
    return "" if value is None else f"{value:.3f}"
