"""Answers from probabilities, and ``decision.json`` that is damaged or of another model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from earmark.errors import ModelError
from earmark.tasks import MULTI_LABEL
from earmark.tasks.decision import NEVER, PLAIN, Decision, read_decision

LABELS = ["no", "yes", "noise"]
P = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.2, 0.3, 0.5], [0.9, 0.1, 0.0]], dtype=np.float32)


def test_without_thresholds_the_most_likely_class_is_the_answer() -> None:
    assert PLAIN.top(P[0], LABELS, 2) == [
        {"label": "no", "score": pytest.approx(0.6)},
        {"label": "yes", "score": pytest.approx(0.3)},
    ]
    assert PLAIN.predictions(P, LABELS).tolist() == [0, 1, 2, 0]
    assert PLAIN.is_plain
    assert not Decision(temperature=2.0).is_plain
    assert not Decision(temperature=2.0).rejects


def test_below_a_threshold_the_answer_is_another_word() -> None:
    decision = Decision(reject_threshold=0.55)
    assert decision.predictions(P, LABELS).tolist() == [0, -1, -1, 0]
    assert decision.top(P[1], LABELS, 2) == [
        {"label": "unknown", "score": pytest.approx(0.5), "below_threshold": "yes"},
        {"label": "noise", "score": pytest.approx(0.3)},
    ]


def test_a_class_of_the_model_stands_for_what_is_rejected() -> None:
    decision = Decision(reject_label="noise", reject_threshold=0.8)
    assert decision.predictions(P, LABELS).tolist() == [2, 2, 2, 0]
    assert decision.top(P[2], LABELS) == [{"label": "noise", "score": pytest.approx(0.5)}], "its own answer"
    assert decision.top(P[0], LABELS)[0] == {
        "label": "noise", "score": pytest.approx(0.6), "below_threshold": "no"
    }  # fmt: skip


def test_thresholds_of_classes_and_of_all_hold_together() -> None:
    decision = Decision(reject_threshold=0.5, class_thresholds={"no": 0.7, "yes": 0.2, "noise": NEVER})
    np.testing.assert_array_equal(decision.thresholds(LABELS), [0.7, 0.5, NEVER])
    assert decision.predictions(P, LABELS).tolist() == [-1, 1, -1, 0]
    assert Decision(class_thresholds={"no": 0.7}).predictions(P, LABELS).tolist() == [-1, 1, 2, 0]


def test_what_it_does_in_words() -> None:
    assert PLAIN.in_words(LABELS) == []
    both = Decision(1.25, "hum", 0.5, {"no": 0.7, "yes": 0.2, "noise": NEVER}, {"notes": ["rarely"]})
    assert both.in_words(LABELS) == [
        "logits are divided by the temperature 1.25",
        "a class is predicted if its probability is at least 0.5, else 'hum'",
        "thresholds: no 0.7, yes 0.5, noise never, else 'hum'",
        "rarely",
    ]
    assert Decision(reject_threshold=0.0).in_words(LABELS) == [
        "all classes together reach the target without a threshold"
    ]
    several = Decision(class_thresholds={"no": 0.7, "yes": 0.0}, task=MULTI_LABEL)
    assert several.in_words(LABELS) == ["thresholds: no 0.7, yes always"]
    many = [f"c{i}" for i in range(60)]
    assert "c49 0.3 and 10 more, else" in Decision(class_thresholds=dict.fromkeys(many, 0.3)).in_words(many)[0]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_decision(tmp_path, LABELS) == PLAIN
    decision = Decision(1.5, "none of these", 0.25, {"no": 0.7, "yes": NEVER}, {"clips": 12})
    (tmp_path / "decision.json").write_text(json.dumps(decision.to_dict(LABELS), allow_nan=False))
    assert read_decision(tmp_path, LABELS) == decision
    assert json.loads((tmp_path / "decision.json").read_text())["class_thresholds"]["yes"] is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("", "damaged"),
        ("{", "damaged"),
        ("[]", "not a JSON object"),
        ("\udc80", "damaged"),
        ({"version": 2}, "its version is 2, not"),
        ({"version": None}, "its version is None, not"),
        ({"labels": ["no", "yes", "hum"]}, "fitted for classes other than"),
        ({"labels": ["yes", "no", "noise"]}, "fitted for classes other than"),
        ({"labels": None}, "fitted for classes other than"),
        ({"temperature": 0}, "temperature 0"),
        ({"temperature": "1"}, "temperature '1'"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"temperature": True}, "temperature True"),
        ({"reject_threshold": 1.5}, "reject_threshold 1.5"),
        ({"reject_label": ""}, "reject_label"),
        ({"class_thresholds": {"maybe": 0.5}}, "no class 'maybe'"),
        ({"class_thresholds": {"yes": -0.1}}, "-0.1 of 'yes'"),
        ({"class_thresholds": [0.5]}, "have to be objects"),
        ({"fitted": 3}, "have to be objects"),
    ],
    ids=str,
)
def test_a_file_that_cannot_be_used_is_one_line(change: str | dict, says: str, tmp_path: Path) -> None:
    path = tmp_path / "decision.json"
    if isinstance(change, dict):
        path.write_text(json.dumps(PLAIN.to_dict(LABELS) | change))
    else:
        path.write_bytes(change.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelError, match=says) as caught:
        read_decision(tmp_path, LABELS)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_of_several_labels_unknown_is_one_like_the_others() -> None:
    decision = Decision(task=MULTI_LABEL)
    assert decision.present(np.array([0.4, 0.6]), ["unknown", "dog"]).tolist() == [False, True]
