"""Which clips come first."""

from __future__ import annotations

import numpy as np
import pytest

from earmark.label import order
from earmark.label.one_label import OneLabel
from earmark.label.several_labels import SeveralLabels

ONE, SEVERAL = OneLabel(), SeveralLabels()


def suspicious(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
    return order.most_first(-order.normalised_margins(probabilities, given))


def rows(*values: float) -> np.ndarray:
    """Probabilities of two classes."""
    return np.array([[value, 1 - value] for value in values])


def test_uncertain_and_confident_are_opposite_ends() -> None:
    probabilities = rows(0.9, 0.5, 0.99, 0.7)
    assert order.most_first(ONE.doubts(probabilities)).tolist() == [1, 3, 0, 2]
    assert order.most_first(ONE.sureness(probabilities)).tolist() == [2, 0, 3, 1]


def test_suspicious_first_is_the_label_the_model_is_surest_against() -> None:
    probabilities = np.array([[0.9, 0.1, 0.0], [0.5, 0.45, 0.05], [0.05, 0.9, 0.05], [0.3, 0.3, 0.4]])
    assert suspicious(probabilities, np.array([1, 1, 1, 2])).tolist() == [0, 1, 3, 2]


def test_suspicious_a_label_that_the_model_does_not_have() -> None:
    probabilities = rows(0.95, 0.6, 0.2)
    assert suspicious(probabilities, np.array([-1, 0, 0])).tolist() == [0, 2, 1]


def test_diverse_keeps_copies_apart() -> None:
    """Three kinds of sounds, five copies of each: the first three clips are one of each."""
    rng = np.random.default_rng(0)
    kinds = np.repeat(np.eye(3), 5, axis=0)
    embeddings = kinds + 1e-3 * rng.standard_normal(kinds.shape)
    places = order.diverse(np.ones(15), embeddings)
    assert sorted(places.tolist()) == list(range(15))
    assert len({place // 5 for place in places[:3].tolist()}) == 3


def test_diverse_passes_over_what_the_model_knows() -> None:
    """A clip that is far from all others and certain is not worth a look."""
    embeddings = np.array([[1.0, 0.0], [0.9, 0.1], [-1.0, 0.2]])
    places = order.diverse(ONE.doubts(np.array([[0.5, 0.5], [0.55, 0.45], [1.0, 0.0]])), embeddings)
    assert places.tolist() == [0, 1, 2]


def test_diverse_of_very_many_goes_on_by_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "_MOST_DIVERSE", 2)
    doubts = ONE.doubts(rows(0.5, 0.6, 0.9, 0.7, 0.8))
    places = order.diverse(doubts, np.eye(5))
    assert sorted(places.tolist()) == list(range(5))
    rest = places[2:].tolist()
    assert rest == [place for place in order.most_first(doubts).tolist() if place in rest]


def test_one_class_and_one_clip() -> None:
    one = np.ones((1, 1))
    assert ONE.doubts(one).tolist() == [0.0]
    for places in (order.most_first(ONE.doubts(one)), order.diverse(ONE.doubts(one), one)):
        assert places.tolist() == [0]
    assert order.shuffled(5, 1).tolist() == order.shuffled(5, 1).tolist() != order.shuffled(5, 2).tolist()


def test_of_several_labels_the_clip_that_tells_most_comes_first() -> None:
    probabilities = np.array([[0.99, 0.01, 0.9], [0.5, 0.01, 0.01], [0.4, 0.6, 0.5], [0.01, 0.01, 0.01]])
    doubts = SEVERAL.doubts(probabilities)
    assert order.most_first(doubts).tolist() == [2, 1, 0, 3]
    assert order.most_first(SEVERAL.sureness(probabilities)).tolist() == [3, 0, 1, 2]
    assert SEVERAL.doubts(np.array([[0.5, 0.5], [0.0, 1.0]])).round(6).tolist() == [2.0, 0.0]  # bits


def test_of_several_labels_one_that_the_model_contradicts_is_suspicious() -> None:
    labels = ["dog", "rain"]
    probabilities = np.array([[0.9, 0.1], [0.9, 0.8], [0.2, 0.1], [0.9, 0.1]])
    given = [("labels", ("dog",)), ("labels", ("dog",)), ("labels", ("dog",)), ("labels", ("dog", "owl"))]
    trust = SEVERAL.trust(probabilities, given, labels)
    assert trust.tolist() == pytest.approx([0.9, 0.2, 0.2, -1.0])  # a missing label counts like a wrong one
    assert SEVERAL.trust(np.array([[0.9, 0.3]]), [("labels", ())], labels).tolist() == pytest.approx([0.1])
