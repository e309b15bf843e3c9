"""How far figures of a split can be trusted: intervals by the bootstrap, and whether probabilities mean what they say.

Shapes: N clips, C classes, B bins, K cells of a confusion matrix that hold clips.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are imported when they are used, which takes a second

from earmark.text import counted

REPLICATES = 1000
_CONFIDENCE = 0.95
_NORMAL = 1.959963984540054  # deviations from the mean within which 95 % of a normal distribution are
_BINS = 15
_FEWEST_GROUPS = 10
_AT_ONCE = 1 << 22  # weights of clips held together


@dataclass(frozen=True)
class Interval:
    """From ``low`` to ``high`` with 95 % confidence."""

    low: float
    high: float


@dataclass(frozen=True)
class Units:
    """What the bootstrap draws: clips, or whole groups of them (a speaker, a tape).

    Clips of one group are alike, so that many clips of few groups say less than as many independent ones; drawing
    groups takes that into account (the cluster bootstrap; Field and Welsh 2007, "Bootstrapping clustered data").

    Attributes:
        num_clips: N.
        group_ids: number of each clip's group, int64 (N,); ``None`` for clips.
    """

    num_clips: int
    group_ids: np.ndarray | None = None

    @classmethod
    def of(cls, groups: Sequence[str | None]) -> Units:
        """Groups where every clip has one and there are ten or more of them: fewer tell too little of others."""
        known = sorted({group for group in groups if group is not None})
        if None in groups or len(known) < _FEWEST_GROUPS:
            return cls(len(groups))
        number = {group: i for i, group in enumerate(known)}
        return cls(len(groups), np.array([number[group] for group in groups if group is not None], dtype=np.int64))

    @property
    def are_groups(self) -> bool:
        """Whether they are groups, not clips."""
        return self.group_ids is not None

    @property
    def in_words(self) -> str:
        """``"80 clips"``, ``"29 groups"``."""
        return counted(self._count, "group" if self.are_groups else "clip")

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Of each unit the sum of its clips' values (N,), float64."""
        return values.astype(np.float64) if self.group_ids is None else np.bincount(self.group_ids, weights=values)

    @property
    def _count(self) -> int:
        return self.num_clips if self.group_ids is None else int(self.group_ids.max()) + 1

    def draws(self, sets: int) -> Iterator[np.ndarray]:
        """How often each clip is in each of ``sets`` bootstrap sets, float64 (R, N), a few sets at a time."""
        rng = np.random.default_rng(0)
        some = max(1, _AT_ONCE // self.num_clips)
        for start in range(0, sets, some):
            times = self._times(rng, min(some, sets - start))
            yield times if self.group_ids is None else times[:, self.group_ids]

    def draws_of_cells(self, cells: np.ndarray, num_cells: int, sets: int) -> np.ndarray:
        """The same, summed over the clips of each cell: float64 (R, K) of ``cells`` int (N,), from 0 to K - 1."""
        rng = np.random.default_rng(0)
        if self.group_ids is None:  # the counts of clips in a bootstrap set are multinomial themselves
            counts = np.bincount(cells, minlength=num_cells)
            return rng.multinomial(self.num_clips, counts / self.num_clips, size=sets).astype(np.float64)
        ones = np.ones(self.num_clips)
        of_groups = scipy.sparse.csr_array((ones, (self.group_ids, cells)), shape=(self._count, num_cells))
        drawn: np.ndarray = self._times(rng, sets) @ of_groups
        return drawn

    def _times(self, rng: np.random.Generator, sets: int) -> np.ndarray:
        count = self._count
        drawn = rng.integers(count, size=(sets, count))
        return np.stack([np.bincount(one, minlength=count) for one in drawn]).astype(np.float64)


def bootstrap_intervals(
    confusion: np.ndarray, units: Units | None = None, cells: np.ndarray | None = None
) -> dict[str, Interval]:
    """Percentile intervals of accuracy and macro F1 over clips, or groups, drawn with replacement (Efron 1979).

    Both depend on the confusion matrix alone. Where every clip is right, or every one is wrong, so is every clip drawn
    again, and nothing seems in doubt: both are then the interval of a fraction (:func:`proportion_interval`).

    Args:
        confusion: clips by true class (row) and predicted class (column), int64 (C, C), at least one clip.
        units: what is drawn; ``None`` for clips, which are then taken as independent.
        cells: of ``units`` the cell of each clip, true class times C plus predicted class, int64 (N,).

    Returns:
        ``accuracy`` and ``macro_f1``.
    """
    true, predicted = np.nonzero(confusion)
    counts = confusion[true, predicted]
    total, num_classes = int(counts.sum()), len(confusion)
    right = int(counts[true == predicted].sum())
    if right in (0, total):
        return dict.fromkeys(("accuracy", "macro_f1"), proportion_interval(right, total))
    if units is None or cells is None:
        units, cells = Units(total), np.repeat(true * num_classes + predicted, counts)
    place = np.full(num_classes**2, -1)
    place[true * num_classes + predicted] = np.arange(len(true))
    drawn = units.draws_of_cells(place[cells], len(true), REPLICATES)  # (replicates, K)
    return {name: percentile_interval(of) for name, of in figures_of_draws(drawn, true, predicted, num_classes).items()}


def figures_of_draws(
    drawn: np.ndarray, true: np.ndarray, predicted: np.ndarray, num_classes: int
) -> dict[str, np.ndarray]:
    """Accuracy and macro F1 of R sets of clips.

    Args:
        drawn: how many clips of each cell are in each set, (R, K).
        true: true class of each cell, int (K,).
        predicted: predicted class of each cell, int (K,).
        num_classes: C.

    Returns:
        ``accuracy`` and ``macro_f1``, float64 (R,).
    """
    right = true == predicted
    cells = np.arange(len(true))

    def by_class(chosen: np.ndarray, classes: np.ndarray) -> np.ndarray:
        shape = (len(true), num_classes)
        sums: np.ndarray = drawn @ scipy.sparse.csr_array(
            (np.ones(chosen.sum()), (cells[chosen], classes[chosen])), shape=shape
        )
        return sums  # (replicates, C)

    everything = np.ones(len(true), bool)
    hits, support, answers = by_class(right, true), by_class(everything, true), by_class(everything, predicted)
    f1 = 2 * hits / np.maximum(support + answers, 1)
    present = support > 0
    macro_f1 = (f1 * present).sum(axis=1) / present.sum(axis=1)
    return {"accuracy": drawn[:, right].sum(axis=1) / drawn.sum(axis=1), "macro_f1": macro_f1}


def percentile_interval(values: np.ndarray) -> Interval:
    """Where 95 % of the values are, float (R,)."""
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(float(low), float(high))


def calibration_error(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Expected calibration error: how far the first class's probability is from being right that often.

    Mean over 15 bins of equal width of the distance between mean probability and accuracy, weighted by clips (Guo et
    al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599).

    Args:
        probabilities: float (N, C), N >= 1.
        targets: int (N,), class indices.
    """
    return binary_calibration_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == targets)


def binary_calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """:func:`calibration_error` of probabilities (N,) that something is so, against whether it is, bool (N,)."""
    gaps = np.bincount(calibration_bins(confidence), weights=confidence - right)
    return float(np.abs(gaps).sum() / len(confidence))


def calibration_bins(confidence: np.ndarray) -> np.ndarray:
    """Return the bin of each probability (N,), int64: 15 of equal width, as the calibration error takes them."""
    return np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)


def binary_loss(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Mean binary cross-entropy in nats of probabilities (N, C) that labels are there, against whether they are."""
    inside = np.clip(probabilities.astype(np.float64), np.finfo(np.float64).tiny, 1 - np.finfo(np.float64).epsneg)
    return -float((targets * np.log(inside) + (1 - targets) * np.log1p(-inside)).mean())


def proportion_interval(hits: int, trials: int) -> Interval:
    """95 % interval of a share, which holds for few trials and shares near 0 or 1 too (Wilson 1927).

    Args:
        hits: how many of them.
        trials: of how many, at least 1.
    """
    centre, total = hits + _NORMAL**2 / 2, trials + _NORMAL**2
    half = _NORMAL * math.sqrt(hits * (trials - hits) / trials + _NORMAL**2 / 4)
    low, high = (centre - half) / total, (centre + half) / total
    return Interval(low if hits else 0.0, high if hits < trials else 1.0)


def share_interval(right: np.ndarray, units: Units) -> Interval:
    """95 % interval of the share of N clips that are right, bool (N,).

    Over clips :func:`proportion_interval`; over groups by the bootstrap, unless all clips are right, or none, and
    nothing would seem in doubt.
    """
    hits = int(right.sum())
    if not units.are_groups or hits in (0, len(right)):
        return proportion_interval(hits, len(right))
    drawn = units.draws_of_cells(right.astype(np.int64), 2, REPLICATES)  # (replicates, 2)
    return percentile_interval(drawn[:, 1] / drawn.sum(axis=1))


def mean_interval(values: np.ndarray) -> Interval | None:
    """95 % interval of the mean of values (N,) that are not below 0, such as absolute errors (Student 1908).

    ``None`` where one value, or all the same, say nothing of how far others may lie.
    """
    deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    if not deviation:
        return None
    half = float(scipy.stats.t.ppf((1 + _CONFIDENCE) / 2, len(values) - 1)) * deviation / math.sqrt(len(values))
    mean = float(values.mean())
    return Interval(max(0.0, mean - half), mean + half)
