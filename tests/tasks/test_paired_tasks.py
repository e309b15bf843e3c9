"""Models of several labels, or of numbers, against each other on the same clips."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import wilcoxon
from sklearn.metrics import average_precision_score, f1_score

from earmark.tasks.multi_label_comparison import compare_labels
from earmark.tasks.regression_comparison import compare_numbers, error_gaps


def models(count: int = 300, labels: int = 3) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """A model that ranks clips well, and one that is better still at the last label."""
    rng = np.random.default_rng(0)
    there = rng.random((count, labels)) < 0.3
    first = np.clip(0.3 + 0.3 * there + 0.25 * rng.standard_normal((count, labels)), 0, 1)
    second = first.copy()
    second[:, -1] = 0.2 + 0.6 * there[:, -1] + 0.1 * rng.random(count)
    return there, [(first, first > 0.5), (second, second > 0.5)]


def test_figures_are_those_of_scikit_learn() -> None:
    there, two = models()
    found = compare_labels(there, two)
    for (probabilities, answered), figures, of_labels in zip(two, found.figures, found.of_labels, strict=True):
        precisions = average_precision_score(there, probabilities, average=None)
        f1 = f1_score(there, answered, average=None)
        np.testing.assert_allclose(of_labels["average_precision"], precisions)
        np.testing.assert_allclose(of_labels["f1"], f1)
        assert figures["mean_average_precision"].value == pytest.approx(precisions.mean())
        assert figures["macro_f1"].value == pytest.approx(f1.mean())
        assert figures["exact_match"].value == (answered == there).all(axis=1).mean()
    (pair,) = found.pairs
    gain = found.figures[1]["macro_f1"].value - found.figures[0]["macro_f1"].value
    assert pair.differences["macro_f1"].value == pytest.approx(gain)


def test_a_label_that_is_better_is_told_from_those_that_are_alike() -> None:
    there, two = models()
    (pair,) = compare_labels(there, two).pairs
    assert [one is not None and one.is_certain for one in pair.of_labels["average_precision"]] == [False, False, True]
    last = pair.of_labels["average_precision"][2]
    assert last is not None
    assert last.interval is not None
    drawn = []
    rng = np.random.default_rng(1)
    for _ in range(600):
        rows = rng.integers(len(there), size=len(there))
        one, other = (average_precision_score(there[rows, 2], scores[rows, 2]) for scores, _ in two)
        drawn.append(other - one)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (last.interval.low, last.interval.high) == pytest.approx((low, high), abs=0.02)


def test_a_label_without_clips_has_no_difference() -> None:
    there, two = models()
    there[:, 1] = False
    found = compare_labels(there, two)
    assert found.pairs[0].of_labels["f1"][1] is None
    assert np.isnan(found.of_labels[0]["f1"][1])
    there[:] = False
    found = compare_labels(there, two)
    assert found.figures[0]["mean_average_precision"].value == 0
    assert found.figures[0]["mean_average_precision"].interval is None
    assert found.pairs[0].of_labels["f1"] == [None] * 3


def test_the_same_model_is_no_better() -> None:
    rng = np.random.default_rng(0)
    there, probabilities = rng.random((50, 3)) < 0.5, rng.random((50, 3))
    one = (probabilities, probabilities > 0.5)
    (found,) = compare_labels(there, [one, one]).pairs
    assert (found.only_first, found.only_second, found.p) == (0, 0, 1.0)
    for of in found.differences.values():
        assert of.interval is not None
        assert of.value == of.interval.low == of.interval.high == 0
    numbers = rng.random(20)
    assert compare_numbers(numbers, [numbers + 1, numbers - 1]).pairs[0].p == 1.0


def test_differences_of_numbers_are_paired() -> None:
    rng = np.random.default_rng(0)
    numbers, shared = rng.random(200), rng.standard_normal(200)
    compared = compare_numbers(numbers, [numbers + shared, numbers + 0.9 * shared])
    (found,) = compared.pairs
    of = found.differences["mae"]
    assert of.value == pytest.approx(-0.1 * np.abs(shared).mean())
    assert of.interval is not None
    assert of.interval.low < of.value < of.interval.high < 0  # errors of the two go together: a small gain is certain
    assert of.is_certain
    assert (found.only_first, found.only_second, found.second_is_better) == (0, 200, True)
    assert found.p == pytest.approx(wilcoxon(np.abs(0.9 * shared), np.abs(shared)).pvalue)
    assert found.p < 1e-6
    assert compared.figures[0]["rmse"].value == pytest.approx(np.sqrt((shared**2).mean()))
    mae = compared.figures[0]["mae"].interval
    assert mae is not None
    assert mae.high - mae.low > 3 * (of.interval.high - of.interval.low)


def test_errors_that_differ_by_rounding_are_alike() -> None:
    numbers = np.array([1.0, 2, 3])
    gaps = error_gaps(numbers, numbers + 0.3, numbers + np.array([0.3 + 1e-12, 0.1, 0.5]))
    assert gaps == pytest.approx([0, -0.2, 0.2])
    assert gaps[0] == 0
