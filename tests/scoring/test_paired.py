"""One model against another on the same clips."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from earmark.scoring.paired import compare, holm


def test_figures_of_a_worked_example() -> None:
    targets = np.array([0] * 6 + [1] * 6)
    first = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0])
    second = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0])
    found = compare(targets, first, second, 2)
    assert (found.only_first, found.only_second) == (0, 4)
    assert found.p == pytest.approx(2 * 0.5**4)  # all four on one side
    assert found.differences["accuracy"].value == pytest.approx(4 / 12)
    f1 = f1_score(targets, second, average="macro") - f1_score(targets, first, average="macro")
    assert found.differences["macro_f1"].value == pytest.approx(f1)
    assert found.differences["accuracy"].interval.low > 0


def test_the_interval_is_that_of_clips_drawn_anew() -> None:
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 4, 400)
    first = np.where(rng.random(400) < 0.7, targets, rng.integers(0, 4, 400))
    second = np.where(rng.random(400) < 0.6, first, targets)
    found = compare(targets, first, second, 4)
    differences = []
    for _ in range(1500):
        rows = rng.integers(0, 400, 400)
        one, other = (f1_score(targets[rows], answers[rows], average="macro") for answers in (first, second))
        differences.append(other - one)
    low, high = np.quantile(differences, [0.025, 0.975])
    assert found.differences["macro_f1"].interval.low == pytest.approx(low, abs=0.006)
    assert found.differences["macro_f1"].interval.high == pytest.approx(high, abs=0.006)


def test_the_same_answers_are_no_difference() -> None:
    answers = np.array([0, 1, 1])
    found = compare(np.array([0, 1, 0]), answers, answers, 2)
    assert found.p == 1.0
    accuracy = found.differences["accuracy"]
    assert accuracy.value == accuracy.interval.low == accuracy.interval.high == 0
    assert not accuracy.is_certain


def test_several_tests_raise_p() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
