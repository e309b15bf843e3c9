"""What is said of a clip, and which comes next."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from earmark.clips.clip import Clip
from earmark.label.decisions import Decisions
from earmark.label.one_label import OneLabel
from earmark.label.session import Session, propose
from earmark.label.several_labels import SeveralLabels
from earmark.tasks import MULTI_LABEL
from earmark.tasks.decision import Decision as ModelDecision

ONE, SEVERAL = OneLabel(), SeveralLabels()
CLASSES = [f"class {i}" for i in range(12)]


def probabilities(*first: float) -> np.ndarray:
    """Of twelve classes: these, and the rest spread evenly over the others."""
    rest = (1 - sum(first)) / (len(CLASSES) - len(first))
    return np.array([*first, *[rest] * (len(CLASSES) - len(first))], np.float32)


def test_nine_choices_for_nine_keys() -> None:
    one = propose(ONE, Clip("a.wav"), ("a.wav", "", ""), probabilities(0.1, 0.6), CLASSES, None)
    assert len(one.choices) == 9
    assert [label for label, _ in one.choices[:2]] == ["class 1", "class 0"]


@pytest.mark.parametrize(
    ("values", "given", "why"),
    [
        ((0.4, 0.35), None, "'class 0' or 'class 1': 0.40 and 0.35"),
        ((0.95,), None, "the model predicts 'class 0': 0.95"),
        ((0.8,), None, "the model predicts 'class 0': 0.80"),
        ((0.8,), "class 0", "the model agrees with 'class 0': 0.80"),
        ((0.8, 0.1), "class 1", "labelled 'class 1' (probability 0.10); the model predicts 'class 0': 0.80"),
        ((0.8,), "owl", "labelled 'owl', a class that the model does not have; the model predicts 'class 0': 0.80"),
    ],
)
def test_why(values: tuple[float, ...], given: str | None, why: str) -> None:
    came_with = None if given is None else ("label", given)
    assert propose(ONE, Clip("a.wav"), ("a.wav", "", ""), probabilities(*values), CLASSES, came_with).why == why


def test_next_is_without_a_decision_and_comes_round(tmp_path: Path) -> None:
    proposals = [
        propose(ONE, Clip(f"{i}.wav"), (f"{i}.wav", "", ""), probabilities(0.9), CLASSES, None) for i in range(4)
    ]
    session = Session(proposals, Decisions(tmp_path, ONE, checks=False, is_cut=False), CLASSES, {})
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


SEVERAL_PLAIN = ModelDecision(task=MULTI_LABEL)


@pytest.mark.parametrize(
    ("values", "given", "proposed", "why"),
    [
        ((0.95, 0.97), None, ("class 0", "class 1"), "the model is sure of every label"),
        ((0.6, 0.45, 0.99), None, ("class 0", "class 2"), "in doubt: 'class 1' 0.45, 'class 0' 0.60"),
        ((), None, (), "the model is sure of every label"),
        ((0.9,), ("class 0",), ("class 0",), "the model agrees with 'class 0'"),
        ((), (), (), "the model agrees with no label"),
        ((0.1, 0.8), ("class 0",), ("class 1",),
         "labelled 'class 0' (probability 0.10); not labelled, but predicted: 'class 1' 0.80"),
        ((0.9,), ("class 0", "owl"), ("class 0",), "labelled 'owl', a label that the model does not have"),
    ],
)  # fmt: skip
def test_why_of_several(
    values: tuple[float, ...], given: tuple[str, ...] | None, proposed: tuple[str, ...], why: str
) -> None:
    row = np.array([*values, *[0.01] * (len(CLASSES) - len(values))], np.float32)
    came_with = None if given is None else ("labels", given)
    one = propose(SEVERAL, Clip("a.wav"), ("a.wav", "", ""), row, CLASSES, came_with, decision=SEVERAL_PLAIN)
    assert one.proposed == ("labels", proposed)
    assert one.why == why


def test_keys_of_several_stay_the_same_as_long_as_there_are_enough() -> None:
    few, many = ["a", "b", "c"], CLASSES
    row = np.array([0.1, 0.9, 0.5], np.float32)
    assert [name for name, _ in SEVERAL.choices(row, few, 9)] == few
    row = np.linspace(0, 0.5, len(many), dtype=np.float32)
    assert [name for name, _ in SEVERAL.choices(row, many, 9)] == many[:2:-1]


def test_thresholds_decide_what_is_proposed() -> None:
    row = np.array([0.3, 0.6], np.float32)
    decision = ModelDecision(class_thresholds={"dog": 0.2, "rain": 0.7}, task=MULTI_LABEL)
    assert SEVERAL.proposed(row, ["dog", "rain"], decision) == ("labels", ("dog",))
    assert SEVERAL.proposed(row, ["dog", "rain"], SEVERAL_PLAIN) == ("labels", ("rain",))
