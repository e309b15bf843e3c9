"""Which clips come first."""

from __future__ import annotations

import numpy as np
import pytest

from earmark.label import order


def rows(*values: float) -> np.ndarray:
    """Probabilities of two classes."""
    return np.array([[value, 1 - value] for value in values])


def test_uncertain_and_confident_are_opposite_ends() -> None:
    probabilities = rows(0.9, 0.5, 0.99, 0.7)
    assert order.uncertain(probabilities).tolist() == [1, 3, 0, 2]
    assert order.confident(probabilities).tolist() == [2, 0, 3, 1]


def test_suspicious_first_is_the_label_the_model_is_surest_against() -> None:
    probabilities = np.array([[0.9, 0.1, 0.0], [0.5, 0.45, 0.05], [0.05, 0.9, 0.05], [0.3, 0.3, 0.4]])
    assert order.suspicious(probabilities, np.array([1, 1, 1, 2])).tolist() == [0, 1, 3, 2]


def test_suspicious_a_label_that_the_model_does_not_have() -> None:
    probabilities = rows(0.95, 0.6, 0.2)
    assert order.suspicious(probabilities, np.array([-1, 0, 0])).tolist() == [0, 2, 1]


def test_diverse_keeps_copies_apart() -> None:
    """Three kinds of sounds, five copies of each: the first three clips are one of each."""
    rng = np.random.default_rng(0)
    kinds = np.repeat(np.eye(3), 5, axis=0)
    embeddings = kinds + 1e-3 * rng.standard_normal(kinds.shape)
    places = order.diverse(np.tile(rows(0.5), (15, 1)), embeddings)
    assert sorted(places.tolist()) == list(range(15))
    assert len({place // 5 for place in places[:3].tolist()}) == 3


def test_diverse_passes_over_what_the_model_knows() -> None:
    """A clip that is far from all others and certain is not worth a look."""
    embeddings = np.array([[1.0, 0.0], [0.9, 0.1], [-1.0, 0.2]])
    places = order.diverse(np.array([[0.5, 0.5], [0.55, 0.45], [1.0, 0.0]]), embeddings)
    assert places.tolist() == [0, 1, 2]


def test_diverse_of_very_many_goes_on_by_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "_MOST_DIVERSE", 2)
    probabilities = rows(0.5, 0.6, 0.9, 0.7, 0.8)
    places = order.diverse(probabilities, np.eye(5))
    assert sorted(places.tolist()) == list(range(5))
    rest = places[2:].tolist()
    assert rest == [place for place in order.uncertain(probabilities).tolist() if place in rest]


def test_one_class_and_one_clip() -> None:
    one = np.ones((1, 1))
    for places in (order.uncertain(one), order.confident(one), order.diverse(one, one)):
        assert places.tolist() == [0]
    assert order.shuffled(5, 1).tolist() == order.shuffled(5, 1).tolist() != order.shuffled(5, 2).tolist()
