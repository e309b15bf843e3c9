"""One model against another on the same clips."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from earmark.stats.paired import holm, mcnemar, sign_flip
from earmark.stats.uncertainty import Units
from earmark.tasks.single_label_comparison import compare


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


def macro_f1(targets: np.ndarray, answers: np.ndarray) -> float:
    """As scikit-learn's ``f1_score(average="macro")`` over the classes of ``targets``, which takes milliseconds."""
    there = np.unique(targets)[:, None]
    hits = ((targets == there) & (answers == there)).sum(axis=1)
    return float(np.mean(2 * hits / ((targets == there).sum(axis=1) + (answers == there).sum(axis=1))))


def test_the_interval_is_that_of_clips_drawn_anew() -> None:
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 4, 400)
    first = np.where(rng.random(400) < 0.7, targets, rng.integers(0, 4, 400))
    second = np.where(rng.random(400) < 0.6, first, targets)
    assert macro_f1(targets, first) == pytest.approx(f1_score(targets, first, average="macro"))
    found = compare(targets, first, second, 4)
    differences = []
    for _ in range(1500):
        rows = rng.integers(0, 400, 400)
        one, other = (macro_f1(targets[rows], answers[rows]) for answers in (first, second))
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


def test_signs_of_whole_groups_are_flipped() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), 3)
    differences = rng.standard_normal(36) + 0.3
    sums = [differences[groups == i].sum() for i in range(12)]
    flipped = [abs(np.dot(signs, sums)) for signs in product((-1, 1), repeat=12)]
    wanted = np.mean(np.array(flipped) >= abs(sum(sums)) - 1e-9)
    units = Units.of([f"{i:02}" for i in groups])
    assert sign_flip(differences, units) == pytest.approx(wanted)
    assert sign_flip(-7 * differences, units) == pytest.approx(wanted)
    assert sign_flip(np.zeros(36), units) == 1.0
    assert sign_flip(np.ones(36), units) == 2 / 2**12  # ones alone, and minus ones


@pytest.mark.parametrize(("only_first", "only_second"), [(5, 12), (20, 40), (30, 30)])
def test_groups_of_one_clip_are_tested_as_clips(only_first: int, only_second: int) -> None:
    differences = np.array([-1] * only_first + [1] * only_second + [0] * 20)
    units = Units.of([str(i) for i in range(len(differences))])
    wanted = binomtest(only_first, only_first + only_second).pvalue
    assert sign_flip(differences, units) == pytest.approx(wanted, abs=0.01)
    assert sign_flip(differences, units) == sign_flip(differences, units)


def test_many_groups_of_many_sizes_are_as_far_as_a_normal_distribution_says() -> None:
    differences = np.random.default_rng(0).standard_normal(400)
    differences += 1.96 * np.sqrt((differences**2).sum()) / 400 - differences.mean()  # two deviations from 0
    assert sign_flip(differences, Units.of([str(i) for i in range(400)])) == pytest.approx(0.05, abs=0.01)
    assert sign_flip(np.abs(differences), Units.of([str(i) for i in range(400)])) == 1 / 10_000  # never 0


def test_speakers_that_suit_one_model_by_chance_are_no_proof() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(15), 20)
    units = Units.of([f"{i:02}" for i in groups])
    alarms = np.zeros(2)
    for _ in range(200):
        suits_first = rng.random(15)  # how often its clips are right, of a speaker; of the second drawn alike
        first, second = rng.random(300) < suits_first[groups], rng.random(300) < rng.random(15)[groups]
        differences = second.astype(float) - first
        alarms += [mcnemar(first, second)[2] < 0.05, sign_flip(differences, units) < 0.05]
    assert alarms[0] > 60  # McNemar's test finds one better in a third of the draws and more, where neither is
    assert alarms[1] < 20  # one in twenty is what it promises


def test_intervals_of_differences_are_those_of_speakers_drawn_anew() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 12)
    targets = rng.integers(0, 3, 360)
    first = np.where(rng.random(360) < 0.8, targets, 0)
    second = np.where((rng.random(30) < 0.5)[groups], targets, first)  # all clips of a speaker, or none, gain
    found = compare(targets, first, second, 3, Units.of([f"{i:02}" for i in groups])).differences
    gains = ((second == targets).astype(float) - (first == targets)).reshape(30, 12)
    low, high = np.quantile(gains[rng.integers(0, 30, (5000, 30))].mean(axis=(1, 2)), [0.025, 0.975])
    of = found["accuracy"].interval
    assert of is not None
    assert (of.low, of.high) == pytest.approx((low, high), abs=0.01)
    over_clips = compare(targets, first, second, 3).differences["accuracy"].interval
    assert over_clips is not None
    assert of.high - of.low > 1.15 * (over_clips.high - over_clips.low)
