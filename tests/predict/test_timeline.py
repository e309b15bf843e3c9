"""From probabilities of windows to segments, on probabilities that are made up."""

from __future__ import annotations

import numpy as np
import pytest

from earmark.errors import UsageError
from earmark.formats.segments import Window
from earmark.predict.timeline import Aggregate, SegmentRules, Timeline, smoothed

LABELS = ["a", "b"]


def windows(of_a: list[float], length_s: float = 1.0, hop_s: float = 1.0) -> list[Window]:
    return [Window(i * hop_s, i * hop_s + length_s, np.array([p, 1 - p], np.float32)) for i, p in enumerate(of_a)]


def spans(of_a: list[float], **rules) -> list[tuple[float, float, float]]:
    found = SegmentRules(**{"labels": ["a"], **rules}).segments(windows(of_a), LABELS)
    return [(s.start_s, s.end_s, round(s.score, 2)) for s in found]


@pytest.mark.parametrize(
    ("of_a", "rules", "expected"),
    [
        ([0.1, 0.2], {}, []),
        ([0.1, 0.6, 0.9, 0.1], {}, [(1, 3, 0.9)]),
        ([0.6, 0.1, 0.1, 0.5], {}, [(0, 1, 0.6), (3, 4, 0.5)]),
        ([0.9, 0.4, 0.4, 0.2, 0.4], {"release": 0.3}, [(0, 3, 0.9)]),
        ([0.9, 0.1, 0.8, 0.1, 0.1, 0.7], {"merge_gap_s": 1}, [(0, 3, 0.9), (5, 6, 0.7)]),
        ([0.9, 0.1, 0.8, 0.1, 0.7], {"merge_gap_s": 1}, [(0, 5, 0.9)]),
        ([0.9, 0.1, 0.1, 0.8, 0.8], {"min_duration_s": 2}, [(3, 5, 0.8)]),
        ([0.9, 0.1, 0.9, 0.1], {"min_duration_s": 3, "merge_gap_s": 1}, [(0, 3, 0.9)]),
        ([0.9, 0.0, 0.9], {"smooth_windows": 3, "threshold": 0.55}, [(1, 2, 0.6)]),
    ],
)
def test_segments(of_a: list[float], rules: dict, expected: list) -> None:
    assert spans(of_a, **rules) == expected


def test_segments_of_all_classes_come_in_order_of_time() -> None:
    found = SegmentRules().segments(windows([0.9, 0.1, 0.9]), LABELS)
    assert [(s.start_s, s.label) for s in found] == [(0, "a"), (1, "b"), (2, "a")]


def test_segments_of_a_class_never_overlap() -> None:
    near = windows([0.9, 0.9, 0.1, 0.9, 0.1, 0.1, 0.1, 0.1, 0.9], length_s=1.0, hop_s=0.25)
    found = SegmentRules(labels=["a"]).segments(near, LABELS)
    assert [(s.start_s, s.end_s) for s in found] == [(0.0, 1.75), (2.0, 3.0)]


@pytest.mark.parametrize("count", [1, 3, 5, 9])
@pytest.mark.parametrize("total", [0, 1, 2, 4, 5, 20])
def test_smoothing_is_a_moving_average_with_shorter_ends(count: int, total: int) -> None:
    values = np.random.default_rng(0).uniform(size=total).tolist()
    got = [float(w.probabilities[0]) for w in smoothed(windows(values), count)]
    half = count // 2
    expected = [np.mean(values[max(0, i - half) : i + half + 1]) for i in range(total)]
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert [w.start_s for w in smoothed(windows(values), count)] == list(range(total))


def test_windows_are_taken_one_by_one() -> None:
    taken = []

    def source():
        for window in windows([0.1] * 100):
            taken.append(window)
            yield window

    stream = smoothed(source(), 5)
    next(stream)
    assert len(taken) == 3


def test_one_answer_for_the_recording() -> None:
    timeline = Timeline("tape.wav", LABELS, windows([0.2, 0.8, 0.2]))
    np.testing.assert_allclose(timeline.aggregate(), [0.4, 0.6], rtol=1e-6)
    np.testing.assert_allclose(timeline.aggregate("max"), [0.8, 0.8], rtol=1e-6)
    assert timeline.probabilities.shape == (3, 2)
    assert [s.label for s in timeline.segments()] == ["b", "a", "b"]
    with pytest.raises(UsageError, match="Use mean or max"):
        Aggregate("median")


def test_background_classes_have_no_segments_unless_they_are_asked_for() -> None:
    timeline = Timeline("tape.wav", LABELS, windows([0.9, 0.1, 0.9]), background=["b"])
    assert [s.label for s in timeline.segments()] == ["a", "a"]
    assert [s.label for s in timeline.segments(SegmentRules(include_background=True))] == ["a", "b", "a"]
    assert [s.label for s in timeline.segments(SegmentRules(labels=["b"]))] == ["b"]


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"threshold": 0}, "threshold 0: expected above 0"),
        ({"threshold": 0.3, "release": 0.5}, r"release 0\.5: expected at most the threshold, 0\.3"),
        ({"smooth_windows": 2}, "an odd number"),
        ({"merge_gap_s": -1}, "0 or more"),
        ({"labels": ["c"]}, "labels c: the model has no such class; it has a, b"),
        ({"threshold": 70}, "threshold 70: expected above 0 and at most 1"),
        ({"threshold": "0.5"}, r"threshold 0\.5: expected above 0 and at most 1"),
        ({"min_duration_s": None}, "min_duration_s None: expected 0 or more"),
        ({"labels": "a"}, r"labels: found str\. Pass a list of classes, \['a'\]"),
    ],
)
def test_rules_that_cannot_be(rules: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        SegmentRules(**rules).segments(windows([0.5]), LABELS)
