"""Average precision of clips drawn with replacement."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from earmark.tasks.multi_label_figures import _Ranked, compute_multi_label


@pytest.mark.parametrize("clips", [1, 7, 300])
def test_average_precision_of_weighted_clips_is_that_of_scikit_learn(clips: int) -> None:
    rng = np.random.default_rng(clips)
    probability, there = np.round(rng.random(clips), 1), rng.random(clips) < 0.3  # many are equal
    there[0] = True
    weights = rng.integers(0, 3, (clips, 20)).astype(float)
    weights[0] = 1
    found = _Ranked(probability, there).average_precision(weights)
    wanted = [average_precision_score(there, probability, sample_weight=column) for column in weights.T]
    assert found == pytest.approx(np.array(wanted))


def test_sets_without_a_clip_that_has_the_label_do_not_count() -> None:
    logits, targets = np.array([[2.0], [-2], [-3]], np.float32), np.array([[1], [0], [0]], np.float32)
    assert np.isnan(_Ranked(logits[:, 0], targets[:, 0] > 0).average_precision(np.array([[0.0], [1], [1]]))).all()
    intervals = compute_multi_label(logits, targets, ["a"]).intervals
    assert [(of.low, of.high) for of in intervals.values()] == [(1.0, 1.0), (1.0, 1.0)]


def test_the_interval_is_as_wide_as_figures_of_other_clips_differ() -> None:
    rng = np.random.default_rng(0)

    def drawn() -> tuple[np.ndarray, np.ndarray]:
        there = rng.random((200, 2)) < 0.3
        return (rng.standard_normal((200, 2)) + 1.5 * there).astype(np.float32), there.astype(np.float32)

    others = [compute_multi_label(*drawn(), ["a", "b"]).mean_average_precision for _ in range(40)]
    of = compute_multi_label(*drawn(), ["a", "b"]).intervals["mean_average_precision"]
    assert of.high - of.low == pytest.approx(3.92 * np.std(others), rel=0.4)
