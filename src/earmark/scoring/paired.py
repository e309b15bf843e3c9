"""Whether one model is better than another on the same clips, or was lucky.

Shapes: N clips, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from earmark.scoring.uncertainty import REPLICATES, Interval, figures_of_draws, percentile_interval


@dataclass(frozen=True)
class Difference:
    """How much higher the second figure is, with its 95 % interval."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class Paired:
    """A second model against a first one.

    Attributes:
        only_first: clips that the first alone answers rightly.
        only_second: clips that the second alone answers rightly.
        p: of McNemar's exact test: how likely so uneven a share of these clips would be if both were equally good.
        accuracy: difference of the accuracies.
        macro_f1: difference of the mean F1 over the classes that have clips.
    """

    only_first: int
    only_second: int
    p: float
    accuracy: Difference
    macro_f1: Difference


def compare(targets: np.ndarray, first: np.ndarray, second: np.ndarray, num_classes: int, *, seed: int = 0) -> Paired:
    """Hold two models against each other.

    McNemar 1947, as a binomial test of the clips that one alone answers rightly, and a paired bootstrap: clips are
    drawn anew with replacement, the same ones for both. Clips are taken as independent.

    Args:
        targets: int (N,), class indices, N >= 1.
        first: int (N,), answers of the first model.
        second: int (N,), answers of the second.
        num_classes: C.
        seed: of the draws.
    """
    only_first = int(((first == targets) & (second != targets)).sum())
    only_second = int(((first != targets) & (second == targets)).sum())
    uneven = only_first + only_second
    p = float(binomtest(only_second, uneven).pvalue) if uneven else 1.0
    # as for one model, the figures depend on how often each (target, answer, answer) occurs, which is multinomial
    cells, counts = np.unique(np.stack([targets, first, second]), axis=1, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(targets), counts / len(targets), size=REPLICATES)
    found = {}
    for number, draws in (("drawn", drawn), ("here", counts[None])):
        one = figures_of_draws(draws, cells[0], cells[1], num_classes)
        other = figures_of_draws(draws, cells[0], cells[2], num_classes)
        found[number] = {name: other[name] - one[name] for name in one}
    differences = {
        name: Difference(float(found["here"][name][0]), percentile_interval(found["drawn"][name]))
        for name in found["here"]
    }
    return Paired(only_first, only_second, p, differences["accuracy"], differences["macro_f1"])


def holm(values: list[float]) -> list[float]:
    """p values of several tests, raised so that one false alarm among all is as likely as they say (Holm 1979)."""
    raised = [1.0] * len(values)
    highest = 0.0
    for rank, i in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (len(values) - rank) * values[i]))
        raised[i] = highest
    return raised
