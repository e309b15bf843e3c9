"""Compute confidence intervals of metrics with the bootstrap, and calibration errors of probabilities.

Shapes: N clips, C classes, B bins, K non-empty cells of a confusion matrix.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # imports its submodules when they are used, which takes a second

from earmark.text import counted

REPLICATES = 1000
_CONFIDENCE = 0.95
_NORMAL = 1.959963984540054  # 95 % of a normal distribution are within this many standard deviations
_BINS = 15
_FEWEST_GROUPS = 10
_AT_ONCE = 1 << 22  # weights of clips in memory at a time


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval from ``low`` to ``high``."""

    low: float
    high: float


@dataclass(frozen=True)
class Units:
    """Units that the bootstrap draws: clips, or groups of clips, such as speakers or recordings.

    Clips of one group are similar, so they carry less information than independent clips. Drawing whole groups accounts
    for that (cluster bootstrap; Field and Welsh 2007, "Bootstrapping clustered data").

    Attributes:
        num_clips: N.
        group_ids: index of each clip's group, int64 (N,); ``None`` if the units are clips.
    """

    num_clips: int
    group_ids: np.ndarray | None = None

    @classmethod
    def of(cls, groups: Sequence[str | None]) -> Units:
        """Return groups as units if every clip has one and there are at least ten groups, else clips."""
        known = sorted({group for group in groups if group is not None})
        if None in groups or len(known) < _FEWEST_GROUPS:
            return cls(len(groups))
        number = {group: i for i, group in enumerate(known)}
        return cls(len(groups), np.array([number[group] for group in groups if group is not None], dtype=np.int64))

    @property
    def are_groups(self) -> bool:
        """Whether the units are groups."""
        return self.group_ids is not None

    @property
    def in_words(self) -> str:
        """Return ``"80 clips"`` or ``"29 groups"``."""
        return counted(self._count, "group" if self.are_groups else "clip")

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of the values (N,) of each unit's clips, float64."""
        return values.astype(np.float64) if self.group_ids is None else np.bincount(self.group_ids, weights=values)

    @property
    def _count(self) -> int:
        return self.num_clips if self.group_ids is None else int(self.group_ids.max()) + 1

    def draws(self, sets: int) -> Iterator[np.ndarray]:
        """Yield how often each clip is in each bootstrap set, float64 (R, N), a few of the ``sets`` at a time."""
        rng = np.random.default_rng(0)
        some = max(1, _AT_ONCE // self.num_clips)
        for start in range(0, sets, some):
            times = self._times(rng, min(some, sets - start))
            yield times if self.group_ids is None else times[:, self.group_ids]

    def draws_of_cells(self, cells: np.ndarray, num_cells: int, sets: int) -> np.ndarray:
        """Return the number of clips of each cell in each set, float64 (R, K); ``cells`` int (N,) is 0 to K - 1."""
        rng = np.random.default_rng(0)
        if self.group_ids is None:  # the counts are multinomial, so they can be drawn directly
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
    """Return bootstrap percentile intervals of accuracy and macro F1 over clips or groups (Efron 1979).

    Both metrics depend only on the confusion matrix. If all clips are right, or all are wrong, every bootstrap set is
    the same: the accuracy then has the interval of :func:`proportion_interval`, and macro F1 has none.

    Args:
        confusion: clips by true class (row) and predicted class (column), int64 (C, C), at least one clip.
        units: units to draw; ``None`` for independent clips.
        cells: cell of each clip of ``units``, true class times C plus predicted class, int64 (N,).

    Returns:
        ``accuracy`` and, unless all clips are right or all are wrong, ``macro_f1``.
    """
    true, predicted = np.nonzero(confusion)
    counts = confusion[true, predicted]
    total, num_classes = int(counts.sum()), len(confusion)
    right = int(counts[true == predicted].sum())
    if right in (0, total):
        return {"accuracy": proportion_interval(right, total)}
    if units is None or cells is None:
        units, cells = Units(total), np.repeat(true * num_classes + predicted, counts)
    place = np.full(num_classes**2, -1)
    place[true * num_classes + predicted] = np.arange(len(true))
    drawn = units.draws_of_cells(place[cells], len(true), REPLICATES)  # (replicates, K)
    return {name: percentile_interval(of) for name, of in figures_of_draws(drawn, true, predicted, num_classes).items()}


def figures_of_draws(
    drawn: np.ndarray, true: np.ndarray, predicted: np.ndarray, num_classes: int
) -> dict[str, np.ndarray]:
    """Return accuracy and macro F1 of R sets of clips.

    Args:
        drawn: number of clips of each cell in each set, (R, K).
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
    hits, support, predictions = by_class(right, true), by_class(everything, true), by_class(everything, predicted)
    f1 = 2 * hits / np.maximum(support + predictions, 1)
    present = support > 0
    macro_f1 = (f1 * present).sum(axis=1) / present.sum(axis=1)
    return {"accuracy": drawn[:, right].sum(axis=1) / drawn.sum(axis=1), "macro_f1": macro_f1}


def percentile_interval(values: np.ndarray) -> Interval:
    """Return the interval that holds 95 % of the values, float (R,)."""
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(float(low), float(high))


def calibration_error(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Return the expected calibration error of the most likely class.

    This is the distance between mean probability and accuracy, averaged over 15 bins of equal width and weighted by
    clips (Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599).

    Args:
        probabilities: float (N, C), N >= 1.
        targets: int (N,), class indices.
    """
    return binary_calibration_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == targets)


def binary_calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Return :func:`calibration_error` of probabilities (N,) of an event that did or did not occur, bool (N,)."""
    gaps = np.bincount(calibration_bins(confidence), weights=confidence - right)
    return float(np.abs(gaps).sum() / len(confidence))


def calibration_bins(confidence: np.ndarray) -> np.ndarray:
    """Return the bin of each probability (N,), int64: 15 of equal width, as for the calibration error."""
    return np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)


def binary_loss(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean binary cross-entropy, in nats, of probabilities (N, C) of labels."""
    inside = np.clip(probabilities.astype(np.float64), np.finfo(np.float64).tiny, 1 - np.finfo(np.float64).epsneg)
    return -float((targets * np.log(inside) + (1 - targets) * np.log1p(-inside)).mean())


def proportion_interval(hits: int, trials: int) -> Interval:
    """Return the 95 % interval of a fraction; also correct for few trials and near 0 or 1 (Wilson 1927).

    Args:
        hits: number of hits.
        trials: number of trials, at least 1.
    """
    centre, total = hits + _NORMAL**2 / 2, trials + _NORMAL**2
    half = _NORMAL * math.sqrt(hits * (trials - hits) / trials + _NORMAL**2 / 4)
    low, high = (centre - half) / total, (centre + half) / total
    return Interval(low if hits else 0.0, high if hits < trials else 1.0)


def share_interval(right: np.ndarray, units: Units) -> Interval:
    """Return the 95 % interval of the fraction of N clips that are right, bool (N,).

    Over clips, this is :func:`proportion_interval`; over groups, the bootstrap, unless all clips are right or none are.
    """
    hits = int(right.sum())
    if not units.are_groups or hits in (0, len(right)):
        return proportion_interval(hits, len(right))
    drawn = units.draws_of_cells(right.astype(np.int64), 2, REPLICATES)  # (replicates, 2)
    return percentile_interval(drawn[:, 1] / drawn.sum(axis=1))


def mean_interval(values: np.ndarray) -> Interval | None:
    """Return the 95 % interval of the mean of non-negative values (N,), such as absolute errors (Student 1908).

    Returns ``None`` for a single value and for equal values, whose spread is unknown.
    """
    deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    if not deviation:
        return None
    half = float(scipy.stats.t.ppf((1 + _CONFIDENCE) / 2, len(values) - 1)) * deviation / math.sqrt(len(values))
    mean = float(values.mean())
    return Interval(max(0.0, mean - half), mean + half)
