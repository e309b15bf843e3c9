"""Metrics of several labels, compared with scikit-learn's, and thresholds of labels."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, log_loss, roc_auc_score

from earmark.clips.clip import ClipTable
from earmark.errors import DataError, ModelError, UsageError
from earmark.scoring.decide import check_task_can_fit, fit_decision
from earmark.settings.training_flags import DecisionArguments
from earmark.tasks import MULTI_LABEL, REGRESSION, sigmoid
from earmark.tasks.calibration import WindowLogits
from earmark.tasks.decision import NEVER, Decision
from earmark.tasks.multi_label_figures import compute_multi_label
from earmark.tasks.multi_label_fitting import fit_label_temperature

LABELS = ["dog", "rain", "wind"]
CLIPS = ClipTable([], "clips")


def made(count: int = 200, seed: int = 0, *, digits: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, 3) and targets that they know something of; rounded, many of them are alike."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((count, 3)) < [0.5, 0.2, 0.05]).astype(np.float32)
    logits = 2.5 * (targets - 0.5) + rng.normal(0, 1.5, (count, 3))
    return (logits if digits is None else logits.round(digits)).astype(np.float32), targets


@pytest.mark.parametrize("digits", [None, 0])
def test_figures_are_scikit_learns(digits: int | None) -> None:
    logits, targets = made(digits=digits)
    found = compute_multi_label(logits, targets, LABELS)
    probabilities = sigmoid(logits.astype(np.float64))
    answers = probabilities >= 0.5
    assert found.mean_average_precision == pytest.approx(
        average_precision_score(targets, probabilities, average="macro")
    )
    assert found.macro_f1 == pytest.approx(f1_score(targets, answers, average="macro"))
    assert found.micro_f1 == pytest.approx(f1_score(targets, answers, average="micro"))
    assert found.exact_match == pytest.approx((answers == targets).all(axis=1).mean())
    assert found.loss == pytest.approx(np.mean([log_loss(targets[:, i], probabilities[:, i]) for i in range(3)]))
    for i, row in enumerate(found.per_label):
        assert row.average_precision == pytest.approx(average_precision_score(targets[:, i], probabilities[:, i]))
        assert row.roc_auc == pytest.approx(roc_auc_score(targets[:, i], probabilities[:, i]))
    assert found.mean_prevalence == pytest.approx(targets.mean())


def test_a_model_that_knows_nothing_gets_the_baseline() -> None:
    _, targets = made(4000)
    logits = np.random.default_rng(5).normal(size=targets.shape).astype(np.float32)
    found = compute_multi_label(logits, targets, LABELS)
    assert found.mean_average_precision == pytest.approx(found.mean_prevalence, abs=0.02)


def test_intervals_hold_the_figure_and_narrow_with_more_clips() -> None:
    few, many = (compute_multi_label(*made(count), LABELS) for count in (100, 1600))
    for name in ("mean_average_precision", "macro_f1"):
        for found in (few, many):
            assert found.intervals[name].low < getattr(found, name) < found.intervals[name].high
        widths = [found.intervals[name].high - found.intervals[name].low for found in (few, many)]
        assert 2 < widths[0] / widths[1] < 8  # a quarter, as the root of 16 clips for one


def test_intervals_can_be_left_out_and_nothing_else_changes() -> None:
    logits, targets = made(100)
    whole, without = (compute_multi_label(logits, targets, LABELS, intervals=wanted) for wanted in (True, False))
    assert without.intervals == {}
    assert replace(whole, intervals={}) == without
    assert len(without.summary_lines()) == 2


def test_a_label_without_clips_is_left_out_of_means_and_said() -> None:
    logits, targets = made()
    targets[:, 2] = 0
    found = compute_multi_label(logits, targets, LABELS)
    assert found.per_label[2].average_precision is None
    assert found.mean_average_precision == pytest.approx(np.mean([r.average_precision for r in found.per_label[:2]]))
    values = found.to_dict()
    assert values["labels_without_clips"] == ["wind"]
    json.dumps(values, allow_nan=False)


def test_clips_without_any_label_alone_are_judged_too() -> None:
    found = compute_multi_label(np.full((4, 3), -2.0), np.zeros((4, 3)), LABELS)
    assert (found.exact_match, found.majority_match, found.mean_average_precision) == (1.0, 1.0, 0.0)
    json.dumps(found.to_dict(), allow_nan=False)


def test_what_cannot_be_judged_is_refused() -> None:
    with pytest.raises(DataError, match="no clips"):
        MULTI_LABEL.figures(np.empty((0, 3)), np.empty((0, 3)), LABELS)
    with pytest.raises(ModelError, match="NaN or infinity for 1 of 2"):
        MULTI_LABEL.figures(np.array([[0, 0, np.nan], [0, 0, 0]]), np.zeros((2, 3)), LABELS)


def windows(logits: np.ndarray) -> WindowLogits:
    return WindowLogits(logits, np.arange(len(logits)), MULTI_LABEL)


def test_the_temperature_finds_back_what_logits_were_scaled_by() -> None:
    rng = np.random.default_rng(1)
    true = rng.normal(0, 2, (4000, 3))
    targets = (rng.random(true.shape) < sigmoid(true)).astype(np.float32)
    assert fit_label_temperature(windows((3 * true).astype(np.float32)), targets) == pytest.approx(3, rel=0.06)


def test_labels_that_have_nothing_to_do_with_the_logits_leave_the_temperature_at_1() -> None:
    rng = np.random.default_rng(4)
    targets = (rng.random((400, 3)) < 0.5).astype(np.float32)
    logits = windows(rng.normal(0, 20, (400, 3)).astype(np.float32))
    settings = DecisionArguments(calibrate=True)
    fitted = fit_decision(logits, targets, LABELS, settings, split="validation", data=CLIPS)
    assert fitted.decision.temperature == 1.0
    assert fitted.decision.fitted["notes"] == [
        "the temperature stays 1, because the best one is not between 0.05 and 20: the model predicts these clips too "
        "badly"
    ]


def test_thresholds_reach_the_precision_on_other_clips() -> None:
    logits, targets = made(4000, seed=2)
    settings = DecisionArguments(target_precision=0.8)
    fitted = fit_decision(windows(logits[:2000]), targets[:2000], LABELS, settings, split="validation", data=CLIPS)
    assert fitted.decision.task is MULTI_LABEL
    answered = fitted.decision.present(sigmoid(logits[2000:]), LABELS)
    for i in range(2):  # of the third there are few clips
        precision = targets[2000:][answered[:, i], i].mean()
        assert precision == pytest.approx(0.8, abs=0.06)
    assert fitted.metrics["precision"] == pytest.approx(0.8, abs=0.04)
    assert "judged" in fitted.metrics


def test_a_label_without_clips_is_never_answered_and_a_line_says_so() -> None:
    logits, targets = made(400)
    targets[:, 2] = 0
    settings = DecisionArguments(target_precision=0.8)
    fitted = fit_decision(windows(logits), targets, LABELS, settings, split="validation", data=CLIPS)
    assert fitted.decision.class_thresholds["wind"] == NEVER
    assert any("no clip has that label: 'wind'" in note for note in fitted.decision.fitted["notes"])


def test_where_no_label_reaches_the_precision_none_is_answered() -> None:
    logits = np.array([[3.0, -3, -3], [-3, 3, -3], [-3, -3, 3]], dtype=np.float32)
    settings = DecisionArguments(target_precision=0.8)
    fitted = fit_decision(windows(logits), (logits < 0).astype(np.float32), LABELS, settings, split="test", data=CLIPS)
    assert fitted.decision.class_thresholds == dict.fromkeys(LABELS, NEVER)
    assert not fitted.decision.present(np.full((1, 3), 0.999), LABELS).any()
    assert fitted.decision.in_words(LABELS) == [
        "thresholds: dog never, rain never, wind never",
        "no label reaches --target_precision 0.8: no label is ever predicted. Lower the target, or train on more clips",
    ]


def test_rejecting_means_nothing_where_no_label_may_be_the_answer() -> None:
    for settings in ({"reject_target_precision": 0.9}, {"reject_false_accept_rate": 0.1, "reject_class": "dog"}):
        with pytest.raises(UsageError, match="Use --target_precision to fit the thresholds"):
            check_task_can_fit(DecisionArguments(**settings), MULTI_LABEL)
    with pytest.raises(UsageError, match="a number has no probability"):
        check_task_can_fit(DecisionArguments(calibrate=True), REGRESSION)


def test_answers_name_the_most_likely_and_all_that_are_there() -> None:
    decision = Decision(class_thresholds={"dog": NEVER, "wind": 0.1}, task=MULTI_LABEL)
    top = decision.top(np.array([0.9, 0.6, 0.2]), LABELS, top_k=1)
    assert [(one["label"], one["present"]) for one in top] == [("dog", False), ("rain", True), ("wind", True)]
    assert not decision.rejects
    np.testing.assert_array_equal(Decision(task=MULTI_LABEL).present(np.array([0.5, 0.49, 1]), LABELS), [1, 0, 1])
