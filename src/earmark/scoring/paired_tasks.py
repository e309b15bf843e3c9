"""Whether one model of several labels, or of numbers, is better than another on the same clips.

Shapes: N clips, C labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, rankdata, wilcoxon

from earmark.scoring.multi_label import bootstrap, label_means
from earmark.scoring.uncertainty import REPLICATES, Interval, percentile_interval

_AT_ONCE = 1 << 22  # clips held together while they are drawn anew


@dataclass(frozen=True)
class PairedScores:
    """A second model against a first one.

    Attributes:
        only_first: clips that the first alone has all right, or that its answer is nearer to.
        only_second: the same of the second.
        second_is_better: which way ``p`` leans.
        p: of McNemar's exact test of several labels, of Wilcoxon's signed-rank test of numbers.
        differences: how much higher the second's figures are, by name, with 95 % intervals; ``None`` for one that
            would take minutes.
    """

    only_first: int
    only_second: int
    second_is_better: bool
    p: float
    differences: Mapping[str, tuple[float, Interval | None]]


def compare_labels(
    there: np.ndarray, first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]
) -> PairedScores:
    """Hold two models of several labels against each other.

    McNemar 1947 of the clips whose labels one alone has all right, and a paired bootstrap: clips are drawn anew with
    replacement, the same ones for both. Clips are taken as independent.

    Args:
        there: which labels are there, bool (N, C).
        first, second: probabilities float (N, C) and answers bool (N, C) of each.
    """
    right, other = (first[1] == there).all(axis=1), (second[1] == there).all(axis=1)
    only_first, only_second = int((right & ~other).sum()), int((other & ~right).sum())
    p = float(binomtest(only_second, only_first + only_second).pvalue) if only_first + only_second else 1.0
    drawn, here = bootstrap([first, second], there), [label_means(*one, there) for one in (first, second)]
    differences = {
        name: (
            here[1][name] - here[0][name],
            percentile_interval(drawn[1][name] - drawn[0][name]) if drawn[0] else None,
        )
        for name in here[0]
    }
    return PairedScores(only_first, only_second, only_second > only_first, p, differences)


def compare_numbers(numbers: np.ndarray, first: np.ndarray, second: np.ndarray) -> PairedScores:
    """Hold two models of numbers against each other.

    Wilcoxon 1945 of the differences of the absolute errors, and a paired bootstrap of mean absolute error and root
    mean square error. Clips are taken as independent.

    Args:
        numbers: what the answers should be, float (N,).
        first, second: answers of each, float (N,).
    """
    errors = np.abs(np.stack([first, second]) - numbers)  # (2, N)
    gap = errors[1] - errors[0]
    gap[np.abs(gap) <= 1e-9 * errors.max()] = 0  # alike but for rounding
    leaning = float(np.sign(gap[gap != 0]) @ rankdata(np.abs(gap[gap != 0])))  # what the test looks at
    p = float(wilcoxon(gap).pvalue) if gap.any() else 1.0
    rng, total = np.random.default_rng(0), len(numbers)
    some = max(1, _AT_ONCE // total)
    drawn: dict[str, list[np.ndarray]] = {"mae": [], "rmse": []}
    for start in range(0, REPLICATES, some):
        sets = errors[:, rng.integers(total, size=(min(some, REPLICATES - start), total))]  # (2, R, N)
        for name, of in _errors(sets).items():
            drawn[name].append(of[1] - of[0])
    here = _errors(errors)
    differences = {
        name: (float(of[1] - of[0]), percentile_interval(np.concatenate(drawn[name]))) for name, of in here.items()
    }
    return PairedScores(int((gap > 0).sum()), int((gap < 0).sum()), leaning < 0, p, differences)


def _errors(sizes: np.ndarray) -> dict[str, np.ndarray]:
    """Mean absolute error and root mean square error of absolute errors (2, ..., N), each (2, ...)."""
    return {"mae": sizes.mean(axis=-1), "rmse": np.sqrt((sizes**2).mean(axis=-1))}
