"""Metrics, compared with counts by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, top_k_accuracy_score

from earmark.errors import DataError, ModelError
from earmark.tasks.single_label_figures import compute_metrics

LABELS = ["a", "b", "c", "d"]


def logits_for(predicted: list[int], classes: int = 4) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[predicted] * 5


def test_hand_counted() -> None:
    #        truth: a a a b b c    predicted: a a b b c c ; d has no clips
    metrics = compute_metrics(logits_for([0, 0, 1, 1, 2, 2]), np.array([0, 0, 0, 1, 1, 2]), LABELS)
    assert metrics.accuracy == pytest.approx(4 / 6)
    assert metrics.majority_class == "a"
    assert metrics.majority_class_rate == pytest.approx(0.5)
    assert metrics.balanced_accuracy == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    f1 = {"a": 2 * 1 * (2 / 3) / (1 + 2 / 3), "b": 0.5, "c": 2 * 0.5 * 1 / 1.5}
    assert metrics.macro_f1 == pytest.approx(sum(f1.values()) / 3)
    rows = {row.label: row for row in metrics.per_class}
    assert (rows["a"].precision, rows["a"].recall, rows["a"].support) == (1.0, pytest.approx(2 / 3), 3)
    assert (rows["d"].precision, rows["d"].recall, rows["d"].f1, rows["d"].support) == (None, None, None, 0)
    assert metrics.confusion.tolist() == [[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert metrics.predicted_classes == 3
    assert set(metrics.top_k_accuracy) == {3}


def test_loss_is_the_mean_cross_entropy() -> None:
    metrics = compute_metrics(np.zeros((2, 4), np.float32), np.array([1, 3]), LABELS)
    assert metrics.loss == pytest.approx(math.log(4))


def test_a_class_with_clips_that_is_never_predicted_counts_as_zero() -> None:
    metrics = compute_metrics(logits_for([0, 0, 0]), np.array([0, 0, 1]), LABELS)
    assert metrics.macro_f1 == pytest.approx((0.8 + 0.0) / 2)
    assert metrics.per_class[1].precision is None


def test_json_has_no_nan_and_the_summary_shows_the_majority_rate() -> None:
    metrics = compute_metrics(logits_for([0, 0, 0]), np.array([0, 0, 1]), LABELS)
    json.dumps(metrics.to_dict(), allow_nan=False)
    assert metrics.to_dict()["classes_without_clips"] == ["c", "d"]
    assert "always predicting 'a': 0.6667" in metrics.summary_lines()[0]


def test_figures_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 6, 300)  # the last of 7 classes has no clips
    logits = np.round(rng.standard_normal((300, 7)) + np.eye(7)[targets], 1).astype(np.float32)  # some are equal
    metrics = compute_metrics(logits, targets, list("abcdefg"))
    predicted, classes = logits.argmax(axis=1), np.arange(7)
    assert (metrics.confusion == confusion_matrix(targets, predicted, labels=classes)).all()
    for k, accuracy in metrics.top_k_accuracy.items():
        assert accuracy == pytest.approx(top_k_accuracy_score(targets, logits, k=k, labels=classes))
    expected = precision_recall_fscore_support(targets, predicted, labels=classes, zero_division=np.nan)
    for row, *figures in zip(metrics.per_class[:6], *expected, strict=False):
        assert [row.precision, row.recall, row.f1, row.support] == pytest.approx(figures)


def test_no_clips_is_an_error() -> None:
    with pytest.raises(DataError, match="no clips"):
        compute_metrics(np.empty((0, 4), np.float32), np.empty(0, np.int64), LABELS)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_model_that_answers_nan_is_an_error(broken: float) -> None:
    logits = logits_for([0, 1, 2])
    logits[1, 2] = broken
    with pytest.raises(ModelError, match="1 of 3 clips"):
        compute_metrics(logits, np.array([0, 1, 2]), LABELS)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_figures_hang_together(pairs: list[tuple[int, int]]) -> None:
    targets, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    metrics = compute_metrics(logits_for(predicted.tolist()), targets, LABELS)
    assert metrics.confusion.sum() == metrics.num_clips == len(pairs)
    assert metrics.accuracy == pytest.approx(np.trace(metrics.confusion) / len(pairs))
    assert 1 / 4 <= metrics.majority_class_rate <= 1
    assert all(0 <= value <= 1 for value in (metrics.balanced_accuracy, metrics.macro_f1))
    always = compute_metrics(logits_for([LABELS.index(metrics.majority_class)] * len(pairs)), targets, LABELS)
    assert always.accuracy == pytest.approx(metrics.majority_class_rate)
    assert always.balanced_accuracy == pytest.approx(metrics.balanced_majority_rate)
