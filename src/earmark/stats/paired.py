"""Whether one model is better than another on the same clips, or was lucky.

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

_EXACT_GROUPS = 20  # their signs have a million combinations
_FLIPS = 9999  # combinations drawn of more
_AT_ONCE = 1 << 22  # numbers held together


@dataclass(frozen=True)
class Estimate:
    """A figure, or how much higher one is than another, with its 95 % interval; without one that would take minutes."""

    value: float
    interval: Interval | None

    @property
    def is_certain(self) -> bool:
        """Whether the interval leaves 0 out: of a difference, that there is one."""
        return self.interval is not None and not self.interval.low <= 0 <= self.interval.high


@dataclass(frozen=True)
class Paired:
    """A second model against a first one.

    Attributes:
        only_first: clips that the first alone answers rightly (of several labels: all of them), or that its number is
            nearer to.
        only_second: the same of the second.
        second_is_better: which way ``p`` leans.
        p: of McNemar's exact test of these clips, in a regression of Wilcoxon's signed-rank test of the absolute
            errors: how likely so uneven clips would be if both were equally good. Over groups of :func:`sign_flip`.
        differences: how much higher the second's figures are, by name.
        of_labels: the same of each of several labels, C of them a figure; ``None`` for one without clips.
    """

    only_first: int
    only_second: int
    second_is_better: bool
    p: float
    differences: Mapping[str, Estimate]
    of_labels: Mapping[str, Sequence[Estimate | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Compared:
    """Models on the same clips.

    Attributes:
        figures: of each, by name.
        pairs: each but the first against the first.
        of_labels: of each the figures of its classes or labels, by name, float (C,); NaN for one without clips.
    """

    figures: list[dict[str, Estimate]]
    pairs: list[Paired]
    of_labels: list[Mapping[str, np.ndarray]]


def estimate(value: np.ndarray | float, drawn: np.ndarray | None) -> Estimate:
    """Return a figure with the interval of R draws of it, float (R,); without one if there are none."""
    return Estimate(float(value), None if drawn is None else percentile_interval(drawn))


def hits_test(first: np.ndarray, second: np.ndarray, units: Units) -> tuple[int, int, float]:
    """What :func:`mcnemar` gives; over groups p is that of :func:`sign_flip`."""
    only_first, only_second, p = mcnemar(first, second)
    if units.are_groups:
        p = sign_flip(second.astype(np.float64) - first, units)
    return only_first, only_second, p


def mcnemar(first: np.ndarray, second: np.ndarray) -> tuple[int, int, float]:
    """Clips that one of two models alone has right, and how likely so uneven a share of them would be (McNemar 1947).

    Exact: a binomial test.

    Args:
        first, second: which clips each has right, bool (N,).

    Returns:
        ``(only the first, only the second, p)``.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    uneven = only_first + only_second
    return only_first, only_second, float(binomtest(only_second, uneven).pvalue) if uneven else 1.0


def sign_flip(differences: np.ndarray, units: Units) -> float:
    """How likely the sum of N differences would be so far from 0 if both models were equally good.

    Then either may be the better one of a whole group, whatever its clips have in common: the sum of a group's
    differences could as well have the other sign. p is the share of all combinations of signs that are as far from 0 as
    what was seen (Fisher 1935, "The Design of Experiments", section 21; whole blocks flipped: Winkler et al. 2015,
    "Multi-level block permutation", NeuroImage 123). Where more than 20 groups differ 9,999 combinations are drawn, and
    the one seen is counted among them (Phipson and Smyth 2010, "Permutation p-values should never be zero").
    With one clip a group, right or wrong, this is McNemar's exact test.

    Args:
        differences: of the clips, float (N,), 0 where both are alike.
        units: whose signs are flipped.
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
    # how many of those of one size keep their sign is binomial
    sizes, counts = np.unique(sizes, return_counts=True)
    rng, as_far = np.random.default_rng(0), 0
    some = max(1, _AT_ONCE // len(sizes))
    for start in range(0, _FLIPS, some):
        kept = rng.binomial(counts, 0.5, size=(min(some, _FLIPS - start), len(sizes)))
        as_far += int((np.abs((2.0 * kept - counts) @ sizes) >= far).sum())
    return (as_far + 1) / (_FLIPS + 1)


def holm(values: list[float]) -> list[float]:
    """p values of several tests, raised so that one false alarm among all is as likely as they say (Holm 1979)."""
    raised = [1.0] * len(values)
    highest = 0.0
    for rank, i in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (len(values) - rank) * values[i]))
        raised[i] = highest
    return raised
