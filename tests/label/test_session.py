"""What is said of a clip, and which comes next."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from earmark.clips.clip import Clip
from earmark.label.decisions import Decisions
from earmark.label.session import Session, propose

CLASSES = [f"class {i}" for i in range(12)]


def probabilities(*first: float) -> np.ndarray:
    """Of twelve classes: these, and the rest spread evenly over the others."""
    rest = (1 - sum(first)) / (len(CLASSES) - len(first))
    return np.array([*first, *[rest] * (len(CLASSES) - len(first))], np.float32)


def test_nine_choices_for_nine_keys() -> None:
    one = propose(Clip("a.wav"), ("a.wav", "", ""), probabilities(0.1, 0.6), CLASSES, None)
    assert len(one.choices) == 9
    assert [label for label, _ in one.choices[:2]] == ["class 1", "class 0"]


@pytest.mark.parametrize(
    ("values", "given", "why"),
    [
        ((0.4, 0.35), None, "'class 0' or 'class 1': 0.40 and 0.35"),
        ((0.95,), None, "the model is sure: 0.95"),
        ((0.8,), None, "the model is fairly sure: 0.80"),
        ((0.8,), "class 0", "the model agrees with 'class 0': 0.80"),
        ((0.8, 0.1), "class 1", "labelled 'class 1', which the model gives 0.10; it hears 'class 0': 0.80"),
        ((0.8,), "owl", "labelled 'owl', a class that the model does not have; it hears 'class 0': 0.80"),
    ],
)
def test_why(values: tuple[float, ...], given: str | None, why: str) -> None:
    assert propose(Clip("a.wav"), ("a.wav", "", ""), probabilities(*values), CLASSES, given).why == why


def test_next_is_without_a_decision_and_comes_round(tmp_path: Path) -> None:
    proposals = [propose(Clip(f"{i}.wav"), (f"{i}.wav", "", ""), probabilities(0.9), CLASSES, None) for i in range(4)]
    session = Session(proposals, Decisions(tmp_path, checks=False, is_cut=False), CLASSES, {})
    assert session.state()["next"] == 0
    assert session.decide(1, None, ("label", "class 0"))["next"] == 2
    assert session.clip(0)["next"] == 2
    assert session.decide(3, None, ("aside", "none"))["next"] == 0
    assert session.decide(0, None, ("label", "owl"))["next"] == 2
    assert session.clip(2)["next"] is None  # it is the only one left
    last = session.decide(2, None, ("label", "class 0"))
    assert last["next"] is None
    assert (last["labelled"], last["aside"], last["as_proposed"]) == (3, 1, 2)
    assert last["labels"][-1] == "owl"
