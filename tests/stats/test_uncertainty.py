"""Intervals against clips that really are drawn again, calibration against probabilities whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp
from sklearn.metrics import confusion_matrix

from earmark.stats.uncertainty import (
    Units,
    bootstrap_intervals,
    calibration_error,
    mean_interval,
    proportion_interval,
    share_interval,
)
from tests.stats.test_paired import macro_f1


def test_intervals_are_those_of_clips_drawn_anew() -> None:
    rng = np.random.default_rng(0)
    targets = rng.choice(4, 300, p=[0.5, 0.3, 0.15, 0.05])
    predicted = np.where(rng.random(300) < 0.8, targets, rng.choice(4, 300))
    found = bootstrap_intervals(confusion_matrix(targets, predicted, labels=range(5)))
    accuracy, f1 = [], []
    for _ in range(1000):
        rows = rng.integers(300, size=300)
        accuracy.append((targets[rows] == predicted[rows]).mean())
        f1.append(macro_f1(targets[rows], predicted[rows]))
    for name, values in (("accuracy", accuracy), ("macro_f1", f1)):
        expected = np.quantile(values, [0.025, 0.975])
        assert (found[name].low, found[name].high) == pytest.approx(expected, abs=0.02)


def test_more_clips_narrow_it_and_the_same_clips_give_the_same() -> None:
    few = np.array([[40, 10], [5, 45]])
    narrow, wide = bootstrap_intervals(100 * few)["accuracy"], bootstrap_intervals(few)["accuracy"]
    assert narrow.high - narrow.low == pytest.approx((wide.high - wide.low) / 10, rel=0.2)
    assert bootstrap_intervals(few) == bootstrap_intervals(few)


def test_few_clips_that_are_all_right_or_all_wrong_leave_doubt() -> None:
    for confusion, low, high in (([[10, 0], [0, 0]], 0.7225, 1.0), ([[0, 4], [6, 0]], 0.0, 0.2775)):
        found = bootstrap_intervals(np.array(confusion))  # 10 of 10, Wilson: 10 / (10 + 1.96 ** 2)
        assert "macro_f1" not in found  # Wilson's interval is that of the accuracy
        assert (found["accuracy"].low, found["accuracy"].high) == pytest.approx((low, high), abs=1e-4)


def test_calibration_error() -> None:
    probabilities = np.full((10, 2), [0.9, 0.1])
    assert calibration_error(probabilities, np.array([0] * 9 + [1])) == pytest.approx(0)
    assert calibration_error(probabilities, np.ones(10, int)) == pytest.approx(0.9)
    both = np.concatenate([probabilities, np.full((10, 2), [0.4, 0.6])])
    # too sure by 0.2 in one bin, not sure enough by 0.1 in the other: they do not cancel
    targets = np.array([0] * 7 + [1] * 3 + [1] * 7 + [0] * 3)
    assert calibration_error(both, targets) == pytest.approx(0.15)


def of_speakers(groups: int, each: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Two classes; all clips of a speaker are answered rightly, or all are not."""
    rng = np.random.default_rng(3)
    right = np.repeat(rng.random(groups) < 0.8, each)
    targets = np.tile([0, 1], groups * each // 2)
    return targets, np.where(right, targets, 1 - targets), np.repeat([f"s{i}" for i in range(groups)], each).tolist()


def test_few_speakers_with_many_clips_say_less_than_as_many_clips() -> None:
    targets, predicted, groups = of_speakers(groups=40, each=16)
    confusion, cells = confusion_matrix(targets, predicted, labels=[0, 1]), 2 * targets + predicted
    over_clips = bootstrap_intervals(confusion)["accuracy"]
    over_groups = bootstrap_intervals(confusion, Units.of(groups), cells)["accuracy"]
    widths = [one.high - one.low for one in (over_clips, over_groups)]
    assert widths[1] / widths[0] == pytest.approx(4, rel=0.25)  # the root of 16 clips that say one thing
    alone = Units.of([str(i) for i in range(len(targets))])  # a clip a group is the same as clips
    same = bootstrap_intervals(confusion, alone, cells)["accuracy"]
    assert same.high - same.low == pytest.approx(widths[0], rel=0.1)


def test_groups_are_drawn_whole() -> None:
    _, _, groups = of_speakers(groups=12, each=5)
    for weights in Units.of(groups).draws(7):
        np.testing.assert_array_equal(weights.reshape(len(weights), 12, 5).std(axis=2), 0)
        np.testing.assert_array_equal(weights.sum(axis=1), 60)


def test_a_share_of_clips_is_in_doubt_over_groups_too() -> None:
    targets, predicted, groups = of_speakers(groups=40, each=16)
    right, units = targets == predicted, Units.of(groups)
    confusion = confusion_matrix(targets, predicted, labels=[0, 1])
    wanted = bootstrap_intervals(confusion, units, 2 * targets + predicted)["accuracy"]
    found = share_interval(right, units)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
    hits = int(right.sum())
    assert share_interval(right, Units(len(right))) == proportion_interval(hits, len(right))
    assert share_interval(np.ones(640, bool), units) == proportion_interval(640, 640)


@pytest.mark.parametrize("groups", [["a"] * 50, [str(i % 9) for i in range(50)], [None, *map(str, range(49))]])
def test_too_few_groups_or_gaps_leave_clips(groups: list[str | None]) -> None:
    assert Units.of(groups).in_words == "50 clips"
    assert Units.of([str(i % 10) for i in range(50)]).in_words == "10 groups"


def test_intervals_of_shares_and_of_means_are_those_of_scipy() -> None:
    for hits, trials in ((0, 5), (5, 5), (3, 10), (500, 1000), (1, 1)):
        wanted = binomtest(hits, trials).proportion_ci(method="wilson")
        found = proportion_interval(hits, trials)
        assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)
    errors = np.array([1.0, 2, 4, 5, 3])
    of = mean_interval(errors)
    assert of is not None
    assert (of.low, of.high) == pytest.approx(tuple(ttest_1samp(errors, 0).confidence_interval()))
    short = mean_interval(np.array([0.0, 0, 5]))
    assert short is not None
    assert short.low == 0  # no error is below
    assert mean_interval(np.array([1.0])) is None
    assert mean_interval(np.array([2.0, 2])) is None
