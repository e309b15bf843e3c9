"""The data that a task gives to a report on a split, and to a comparison of runs.

Shapes: N clips, C classes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from earmark.stats.uncertainty import Interval, Units, mean_interval, proportion_interval

if TYPE_CHECKING:
    from earmark.tasks.decision import Decision

MISTAKES = 24
ROOM = 216  # maximum number of other clips; a page has 240 excerpts of up to 3 s, each about 35 kB with spectrogram


@dataclass(frozen=True)
class ScoredClips:
    """Clips that a model has scored, with their targets.

    Attributes:
        targets: from :meth:`earmark.tasks.task.Task.targets`.
        logits: float32 (N, C).
        labels: C class names.
        decision: temperature and thresholds of the model.
        units: groups or clips that intervals treat as independent.
        figures: the metrics in ``metrics.json``.
    """

    targets: np.ndarray
    logits: np.ndarray
    labels: Sequence[str]
    decision: Decision
    units: Units
    figures: Mapping[str, Any]


@dataclass(frozen=True)
class Measure:
    """A metric for a part of a split: the mean of a value of each clip.

    Attributes:
        name: name of the metric, and its key in a row.
        higher_is_better: whether a higher mean is better.
        interval: returns the 95 % interval of the mean of values (M,), or ``None`` if there is none.
    """

    name: str
    higher_is_better: bool
    interval: Callable[[np.ndarray], Interval | None]


ACCURACY = Measure("accuracy", True, lambda right: proportion_interval(int(right.sum()), len(right)))
ERROR = Measure("mae", False, mean_interval)


@dataclass(frozen=True)
class Section:
    """The part of a report on a split that depends on the task.

    Attributes:
        values: JSON values for the template.
        rows: clips that can be played, in order.
        says: returns the JSON values that the page shows for a row.
        measured: a value of each clip, (N,); parts of the split are compared by its mean.
        measure: the metric that is this mean.
        columns: further columns by which to divide the split, N values each.
    """

    values: Mapping[str, Any]
    rows: Sequence[int]
    says: Callable[[int], Mapping[str, Any]]
    measured: np.ndarray
    measure: Measure = ACCURACY
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class ComparedClips:
    """Clips that several models have scored, with their targets.

    Attributes:
        targets: targets of N clips, from :meth:`earmark.tasks.task.Task.as_numbers`.
        runs: scores and predictions of each model; the others are compared with the first.
        labels: C class names.
        units: groups or clips that are drawn and tested.
    """

    targets: np.ndarray
    runs: Sequence[tuple[np.ndarray, np.ndarray]]
    labels: Sequence[str]
    units: Units

    @property
    def predictions(self) -> list[np.ndarray]:
        """The predictions of each model."""
        return [predictions for _, predictions in self.runs]


class ComparedRun(Protocol):
    """A run in a comparison; see :class:`earmark.report.compare.RunResult`."""

    @property
    def name(self) -> str:
        """Name of the run in tables."""

    @property
    def predictions(self) -> np.ndarray:
        """Predictions in the form of the targets."""

    @property
    def scores(self) -> np.ndarray:
        """Scores from which the predictions are made."""


@dataclass(frozen=True)
class Side:
    """Clips on which one of two runs is better.

    Attributes:
        title: end of the heading, after "clips".
        note: order of the clips, for the heading.
        rows: all of these clips, in that order.
        says: returns the JSON values that the page shows for a row.
    """

    title: str
    note: str
    rows: np.ndarray
    says: Callable[[int], dict[str, Any]]


_Cell = TypeVar("_Cell", bound=Hashable)


def fill(wanted_rows: Mapping[_Cell, Sequence[int]], there: Sequence[int]) -> dict[_Cell, list[int]]:
    """Return clips for each cell: one clip per cell in turn, until the page is full.

    Args:
        wanted_rows: candidate clips of each cell, the best first; the most important cells first.
        there: clips that the page has already.
    """
    chosen: dict[_Cell, list[int]] = defaultdict(list)
    have, room = set(there), ROOM
    for turn in range(max(map(len, wanted_rows.values()), default=0)):
        for cell, rows in wanted_rows.items():
            if turn >= len(rows):
                continue
            row = rows[turn]
            if row not in have:
                if not room:
                    continue
                have.add(row)
                room -= 1
            chosen[cell].append(row)
    return dict(chosen)


def first_rows(chosen: np.ndarray, keys: np.ndarray, most: int) -> list[int]:
    """Return at most ``most`` of the rows ``chosen``, bool (N,): those with the lowest keys, float (N,)."""
    rows = np.flatnonzero(chosen)
    found: list[int] = rows[np.argsort(keys[rows], kind="stable")[:most]].tolist()
    return found
