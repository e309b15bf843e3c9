"""Whether one model is better than another on the same clips, or was lucky.

Shapes: N clips, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import binomtest

from earmark.scoring.uncertainty import (
    REPLICATES,
    Interval,
    Units,
    bootstrap_intervals,
    figures_of_draws,
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


def compare_classes(
    targets: np.ndarray, answers: Sequence[np.ndarray], num_classes: int, units: Units | None = None
) -> Compared:
    """Hold models of single labels against the first of them, see :func:`compare`.

    Args:
        targets: int (N,), class indices, N >= 1.
        answers: of each model, int (N,).
        num_classes: C.
        units: what intervals and tests are over; ``None`` for clips.
    """
    units = units or Units(len(targets))
    figures: list[dict[str, Estimate]] = []
    of_labels: list[Mapping[str, np.ndarray]] = []
    for of in answers:
        confusion = np.zeros((num_classes, num_classes), np.int64)
        np.add.at(confusion, (targets, of), 1)
        hits, support = np.diag(confusion), confusion.sum(axis=1)
        with np.errstate(invalid="ignore"):
            f1 = np.where(support > 0, 2 * hits / (support + confusion.sum(axis=0)), np.nan)
        values = {"accuracy": float(hits.sum() / len(targets)), "macro_f1": float(np.nanmean(f1))}
        within = bootstrap_intervals(confusion, units, targets * num_classes + of)
        figures.append({name: Estimate(value, within[name]) for name, value in values.items()})
        of_labels.append({"f1": f1})
    pairs = [compare(targets, answers[0], of, num_classes, units) for of in answers[1:]]
    return Compared(figures, pairs, of_labels)


def compare(
    targets: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    num_classes: int,
    units: Units | None = None,
    *,
    seed: int = 0,
) -> Paired:
    """Hold two models against each other, by accuracy and by the mean F1 over the classes that have clips.

    A test of the clips that one alone has right (:func:`hits_test`), and a paired bootstrap: clips, or whole groups,
    are drawn anew with replacement, the same ones for both.

    Args:
        targets: int (N,), class indices, N >= 1.
        first: int (N,), answers of the first model.
        second: int (N,), answers of the second.
        num_classes: C.
        units: what is drawn and tested; ``None`` for clips, which are then taken as independent.
        seed: of the draws.
    """
    units = units or Units(len(targets))
    only_first, only_second, p = hits_test(first == targets, second == targets, units)
    # as for one model, the figures depend on how often each (target, answer, answer) occurs
    answered = np.stack([targets, first, second])
    cells, cell_of, counts = np.unique(answered, axis=1, return_inverse=True, return_counts=True)
    drawn = units.draws_of_cells(cell_of.ravel(), len(counts), REPLICATES, seed=seed)
    found = {}
    for number, draws in (("drawn", drawn), ("here", counts[None])):
        one = figures_of_draws(draws, cells[0], cells[1], num_classes)
        other = figures_of_draws(draws, cells[0], cells[2], num_classes)
        found[number] = {name: other[name] - one[name] for name in one}
    differences = {
        name: Estimate(float(found["here"][name][0]), percentile_interval(found["drawn"][name]))
        for name in found["here"]
    }
    return Paired(only_first, only_second, only_second > only_first, p, differences)


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


def sign_flip(differences: np.ndarray, units: Units, *, seed: int = 0) -> float:
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
        seed: of the draws.
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
    rng, as_far = np.random.default_rng(seed), 0
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
