"""How far figures of a split can be trusted: intervals by the bootstrap, and whether probabilities mean what they say.

Shapes: N clips, C classes, B bins, K cells of a confusion matrix that hold clips.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.stats import t as student

REPLICATES = 1000
_CONFIDENCE = 0.95
_NORMAL = 1.959963984540054  # deviations from the mean within which 95 % of a normal distribution are
_BINS = 15


@dataclass(frozen=True)
class Interval:
    """From ``low`` to ``high`` with 95 % confidence."""

    low: float
    high: float


def bootstrap_intervals(confusion: np.ndarray, *, seed: int = 0) -> dict[str, Interval]:
    """Percentile intervals of accuracy and macro F1 over clips drawn anew, with replacement (Efron 1979).

    Both depend on the confusion matrix alone, and that of N clips drawn anew is multinomial, so no clips are drawn.
    Clips are taken as independent: many clips of one speaker or tape say less than the interval believes.

    Args:
        confusion: clips by true class (row) and predicted class (column), int64 (C, C), at least one clip.
        seed: of the draws.

    Returns:
        ``accuracy`` and ``macro_f1``.
    """
    true, predicted = np.nonzero(confusion)
    counts = confusion[true, predicted]
    total, num_classes = int(counts.sum()), len(confusion)
    drawn = np.random.default_rng(seed).multinomial(total, counts / total, size=REPLICATES)  # (replicates, K)
    return {name: percentile_interval(of) for name, of in figures_of_draws(drawn, true, predicted, num_classes).items()}


def figures_of_draws(
    drawn: np.ndarray, true: np.ndarray, predicted: np.ndarray, num_classes: int
) -> dict[str, np.ndarray]:
    """Accuracy and macro F1 of R sets of clips.

    Args:
        drawn: how many clips of each cell are in each set, int (R, K).
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
        sums: np.ndarray = drawn @ csr_array((np.ones(chosen.sum()), (cells[chosen], classes[chosen])), shape=shape)
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
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, weights=confidence - right, minlength=_BINS)
    return float(np.abs(gaps).sum() / len(confidence))


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


def mean_interval(values: np.ndarray) -> Interval | None:
    """95 % interval of the mean of values (N,) that are not below 0, such as absolute errors (Student 1908).

    ``None`` where one value, or all the same, say nothing of how far others may lie.
    """
    deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    if not deviation:
        return None
    half = float(student.ppf((1 + _CONFIDENCE) / 2, len(values) - 1)) * deviation / math.sqrt(len(values))
    mean = float(values.mean())
    return Interval(max(0.0, mean - half), mean + half)
