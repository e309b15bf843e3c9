"""What a task tells a report about a split, and about two runs on the same clips.

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
ROOM = 216  # clips of cells; with the mistakes 240 excerpts of at most 3 s, about 35 kB each with spectrogram


@dataclass(frozen=True)
class ScoredClips:
    """Clips that a model has scored, and what is right.

    Attributes:
        targets: of :meth:`earmark.tasks.task.Task.targets`.
        logits: float32 (N, C).
        labels: C class names.
        decision: how the model answers.
        units: what intervals are over.
        figures: of ``metrics.json``.
    """

    targets: np.ndarray
    logits: np.ndarray
    labels: Sequence[str]
    decision: Decision
    units: Units
    figures: Mapping[str, Any]


@dataclass(frozen=True)
class Measure:
    """A figure for the clips of a part: the mean of a value that each clip has.

    Attributes:
        name: its key in a row, and the metric that the mean is.
        higher_is_better: whether a higher mean is better.
        interval: 95 % interval of the mean of values (M,); ``None`` where there is none.
    """

    name: str
    higher_is_better: bool
    interval: Callable[[np.ndarray], Interval | None]


ACCURACY = Measure("accuracy", True, lambda right: proportion_interval(int(right.sum()), len(right)))
ERROR = Measure("mae", False, mean_interval)


@dataclass(frozen=True)
class Section:
    """What a page says about a split, beyond what it says for every task.

    Attributes:
        values: JSON values for the template.
        rows: clips that can be listened to, in order.
        says: returns what is said of a row.
        measured: a value of each clip whose mean parts of the split are compared by, (N,).
        measure: what that value is.
        columns: further columns to part the split by, N values each.
    """

    values: Mapping[str, Any]
    rows: Sequence[int]
    says: Callable[[int], Mapping[str, Any]]
    measured: np.ndarray
    measure: Measure = ACCURACY
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class ComparedClips:
    """Clips that several models have scored, and what is right.

    Attributes:
        targets: numbers of :meth:`earmark.tasks.task.Task.as_numbers`, of N clips.
        runs: scores and answers of each model, the one first that the others are held against.
        labels: C class names.
        units: what is drawn and tested.
    """

    targets: np.ndarray
    runs: Sequence[tuple[np.ndarray, np.ndarray]]
    labels: Sequence[str]
    units: Units

    @property
    def answers(self) -> list[np.ndarray]:
        """Those of each model."""
        return [answers for _, answers in self.runs]


class ComparedRun(Protocol):
    """A run in a comparison; see :class:`earmark.report.compare.Run`."""

    @property
    def name(self) -> str:
        """What tables call it."""

    @property
    def answers(self) -> np.ndarray:
        """Comparable with the targets."""

    @property
    def scores(self) -> np.ndarray:
        """What the answers come from."""


@dataclass(frozen=True)
class Side:
    """Clips that speak for one of two runs.

    Attributes:
        title: what they are.
        note: which of them are in the page.
        rows: all of them, those first that decide most.
        says: returns what is said of a row.
    """

    title: str
    note: str
    rows: np.ndarray
    says: Callable[[int], dict[str, Any]]


_Cell = TypeVar("_Cell", bound=Hashable)


def fill(wanted_rows: Mapping[_Cell, Sequence[int]], there: Sequence[int]) -> dict[_Cell, list[int]]:
    """Clips of each cell, one more of each in turn, while there is room.

    Args:
        wanted_rows: those wanted of each, the best first; cells that matter most first.
        there: clips that the page has anyway.
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
    """Return the rows among those chosen, bool (N,), that have the lowest keys, float (N,)."""
    rows = np.flatnonzero(chosen)
    found: list[int] = rows[np.argsort(keys[rows], kind="stable")[:most]].tolist()
    return found
