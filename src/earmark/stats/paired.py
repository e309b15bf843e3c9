"""Test whether one model is significantly better than another on the same clips.

Shapes: N clips, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import binomtest

from earmark.stats.uncertainty import (
    Interval,
    Units,
    percentile_interval,
)

_EXACT_GROUPS = 20  # the signs of 20 groups have a million combinations
_FLIPS = 9999  # random combinations for more groups
_AT_ONCE = 1 << 22  # numbers in memory at a time


@dataclass(frozen=True)
class Estimate:
    """A metric, or a difference of two metrics, with a 95 % interval; ``None`` if it is unknown or slow to compute."""

    value: float
    interval: Interval | None

    @property
    def is_certain(self) -> bool:
        """Whether the interval excludes 0, so that a difference is significant."""
        return self.interval is not None and not self.interval.low <= 0 <= self.interval.high


@dataclass(frozen=True)
class Paired:
    """Comparison of a second model with a first one.

    Attributes:
        only_first: number of clips for which only the first model is right (with several labels: in all of them), or
            for which its number is closer.
        only_second: the same with the second model.
        second_is_better: direction of the difference that ``p`` tests.
        p: p value of McNemar's exact test; for a regression, of Wilcoxon's signed-rank test of the absolute errors;
            over groups, of :func:`sign_flip`.
        differences: metrics of the second model minus metrics of the first, by name.
        of_labels: these differences for each of C labels; ``None`` for a label without clips.
    """

    only_first: int
    only_second: int
    second_is_better: bool
    p: float
    differences: Mapping[str, Estimate]
    of_labels: Mapping[str, Sequence[Estimate | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Compared:
    """Models that were scored on the same clips.

    Attributes:
        figures: metrics of each model, by name.
        pairs: comparison of each other model with the first.
        of_labels: metrics of classes or labels for each model, by name, float (C,); NaN for a label without clips.
    """

    figures: list[dict[str, Estimate]]
    pairs: list[Paired]
    of_labels: list[Mapping[str, np.ndarray]]


def estimate(value: np.ndarray | float, drawn: np.ndarray | None) -> Estimate:
    """Return a metric with its interval from R bootstrap values, float (R,), if they are given."""
    return Estimate(float(value), None if drawn is None else percentile_interval(drawn))


def hits_test(first: np.ndarray, second: np.ndarray, units: Units) -> tuple[int, int, float]:
    """Return the result of :func:`mcnemar`; over groups, with the p value of :func:`sign_flip`."""
    only_first, only_second, p = mcnemar(first, second)
    if units.are_groups:
        p = sign_flip(second.astype(np.float64) - first, units)
    return only_first, only_second, p


def mcnemar(first: np.ndarray, second: np.ndarray) -> tuple[int, int, float]:
    """Return McNemar's exact test (McNemar 1947), a binomial test of the clips that only one model predicts right.

    Args:
        first, second: which clips each model predicts right, bool (N,).

    Returns:
        ``(right only in the first, right only in the second, p)``.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    uneven = only_first + only_second
    return only_first, only_second, float(binomtest(only_second, uneven).pvalue) if uneven else 1.0


def sign_flip(differences: np.ndarray, units: Units) -> float:
    """Return the p value of a sign-flip test: how often a sum of N differences is this far from 0 by chance.

    If both models were equally good, the sum of each group's differences could just as well be negated. p is the
    fraction of all combinations of signs whose sum is at least as far from 0 as the observed one (Fisher 1935, "The
    Design of Experiments", section 21; flips of whole blocks: Winkler et al. 2015, "Multi-level block permutation",
    NeuroImage 123). If more than 20 groups differ, 9,999 random combinations and the observed one are used (Phipson and
    Smyth 2010, "Permutation p-values should never be zero"). With one clip per group, right or wrong, this is McNemar's
    exact test.

    Args:
        differences: differences of the clips, float (N,); 0 if both models agree.
        units: groups whose signs are flipped.
    """
    of_units = units.sums(differences)
    sizes = np.abs(of_units)
    rounding = 1e-9 * float(sizes.sum())
    sizes = sizes[sizes > rounding / len(sizes)]
    far = abs(float(of_units.sum())) - rounding
    if len(sizes) <= _EXACT_GROUPS:
        sums = np.zeros(1)
        for size in sizes:
            sums = np.concatenate([sums - size, sums + size])
        return float((np.abs(sums) >= far).mean())
    # Among groups of equal sums, the number that keeps its sign is binomial.
    sizes, counts = np.unique(sizes, return_counts=True)
    rng, as_far = np.random.default_rng(0), 0
    some = max(1, _AT_ONCE // len(sizes))
    for start in range(0, _FLIPS, some):
        kept = rng.binomial(counts, 0.5, size=(min(some, _FLIPS - start), len(sizes)))
        as_far += int((np.abs((2.0 * kept - counts) @ sizes) >= far).sum())
    return (as_far + 1) / (_FLIPS + 1)


def holm(values: list[float]) -> list[float]:
    """Return the p values of several tests, corrected for multiple testing (Holm 1979)."""
    raised = [1.0] * len(values)
    highest = 0.0
    for rank, i in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (len(values) - rank) * values[i]))
        raised[i] = highest
    return raised
