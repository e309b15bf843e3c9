"""Thresholds set by hand, targets that cannot be reached, and metrics that are cross-fitted."""

from __future__ import annotations

import numpy as np
import pytest

from earmark.clips.clip import Clip, ClipTable
from earmark.errors import UsageError
from earmark.scoring.decide import Fitted, check_can_fit, fit_decision, summary_line
from earmark.settings.training_flags import DecisionArguments
from earmark.stats.thresholds import lowest_threshold, threshold_of_false_accepts
from earmark.tasks import softmax
from earmark.tasks.calibration import WindowLogits
from earmark.tasks.decision import NEVER, Decision, LabelledScores
from earmark.tasks.single_label_fitting import class_decision_figures
from tests.tasks.test_calibration import drawn, single

SCORES = np.array([0.95, 0.9, 0.8, 0.7, 0.6, 0.5])
RIGHT = np.array([True, True, False, True, True, False])


@pytest.mark.parametrize(
    ("precision", "lowest"),
    [(1.0, 0.9), (0.8, 0.6), (0.75, 0.6), (4 / 6, 0.0), (0.5, 0.0)],
)
def test_the_lowest_probability_that_is_precise_enough(precision: float, lowest: float) -> None:
    shuffled = np.array([3, 0, 5, 1, 4, 2])
    assert lowest_threshold(SCORES[shuffled], RIGHT[shuffled], precision) == pytest.approx(lowest, abs=2e-4)


def test_probabilities_that_are_equal_are_answered_together() -> None:
    scores, right = np.array([0.9, 0.9, 0.4]), np.array([True, False, False])
    assert lowest_threshold(scores, right, 1.0) is None
    assert lowest_threshold(scores, right, 0.5) == pytest.approx(0.9, abs=2e-4)
    assert lowest_threshold(np.array([]), np.array([], bool), 0.5) is None


def test_a_threshold_keeps_what_it_was_fitted_on_whatever_the_type() -> None:
    scores = np.random.default_rng(0).uniform(0.2, 1, 200).astype(np.float32)
    right = np.random.default_rng(1).random(200) < scores
    threshold = lowest_threshold(scores.astype(np.float64), right, 0.8)
    assert threshold
    assert right[scores >= threshold].mean() >= 0.8
    assert (scores >= threshold).sum() == (scores.astype(np.float64) >= threshold).sum()


@pytest.mark.parametrize(("rate", "accepted"), [(0.0, 0), (0.1, 1), (0.19, 1), (0.2, 2), (0.5, 4)])
def test_background_clips_that_pass_are_few_enough(rate: float, accepted: int) -> None:
    scores = np.array([0.9, 0.5, 0.7, 0.7])  # of ten clips, six were right
    threshold = threshold_of_false_accepts(scores, 10, rate)
    passed = int((scores >= threshold).sum())
    assert passed <= accepted
    assert passed == {0: 0, 1: 1, 2: 1, 4: 4}[accepted], "0.7 comes twice, and passes twice or not at all"
    assert threshold_of_false_accepts(np.array([1.0]), 10, 0.0) == np.inf


LABELS = ["a", "b", "noise", "rare"]
CLIPS = ClipTable([], "/x/clips")


def fit(rows: list[tuple[list[float], int]], **settings: object) -> Fitted:
    """Fit on clips given as probabilities and class."""
    logits = np.log(np.array([row for row, _ in rows], dtype=np.float64)).astype(np.float32)
    targets = np.array([target for _, target in rows])
    return fit_decision(
        single(logits),
        targets,
        LABELS,
        DecisionArguments(**settings),
        split="validation",
        data=CLIPS,
    )  # type: ignore[arg-type]


ROWS: list[tuple[list[float], int]] = [
    ([0.90, 0.05, 0.03, 0.02], 0),
    ([0.80, 0.10, 0.05, 0.05], 0),
    ([0.60, 0.30, 0.05, 0.05], 1),
    ([0.20, 0.70, 0.05, 0.05], 1),
    ([0.30, 0.50, 0.15, 0.05], 2),
    ([0.30, 0.40, 0.20, 0.10], 2),
    ([0.10, 0.20, 0.65, 0.05], 2),
]


def test_thresholds_of_classes() -> None:
    fitted = fit(ROWS, target_precision=1.0)
    assert fitted.decision.temperature == 1.0
    assert fitted.decision.class_thresholds == pytest.approx(
        {"a": 0.8, "b": 0.7, "noise": 0.0, "rare": NEVER}, abs=2e-4
    )
    assert fitted.decision.fitted["notes"] == ["never predicted, because no clip has that class: 'rare'"]
    assert fitted.decision.fitted["data"] == "clips", "where they lie stays here"
    assert fitted.decision.fitted["clips"] == 7


def test_a_class_out_of_reach_is_never_answered_and_said_so() -> None:
    rows = [*ROWS, ([0.01, 0.97, 0.01, 0.01], 0), ([0.1, 0.1, 0.1, 0.7], 3)]
    fitted = fit(rows, target_precision=1.0)
    assert fitted.decision.class_thresholds["b"] == NEVER
    assert fitted.decision.class_thresholds["rare"] == 0.0
    assert fitted.decision.fitted["notes"] == [
        "never predicted, because --target_precision 1 is out of reach: 'b' (1 of 4 predictions right)"
    ]
    none = fit([([0.7, 0.1, 0.1, 0.1], 1), ([0.1, 0.7, 0.1, 0.1], 0)] * 2, target_precision=0.9)
    assert none.decision.class_thresholds == dict.fromkeys(LABELS, NEVER)
    said = "no class reaches --target_precision 0.9: every prediction is 'unknown'. Lower the target"
    assert none.decision.fitted["notes"] == [f"{said}, or train on more clips"]


def test_one_threshold_for_all_classes() -> None:
    fitted = fit(ROWS, reject_target_precision=0.75, reject_class="noise")
    # of 0.9 0.8 0.7 0.6- 0.5- 0.4- the first four are right three times
    assert fitted.decision.reject_threshold == pytest.approx(0.6, abs=2e-4)
    assert fitted.decision.reject_label == "noise"
    fitted = fit(ROWS, reject_false_accept_rate=0.4, reject_class="noise")  # one of three may pass
    assert fitted.decision.reject_threshold == pytest.approx(0.4, abs=2e-4)
    assert fitted.decision.reject_threshold > np.float32(0.4)
    both = fit(ROWS, reject_false_accept_rate=0.4, reject_target_precision=1.0, reject_class="noise")
    assert both.decision.reject_threshold == pytest.approx(0.7, abs=2e-4)
    # without such a class its clips are like any others
    assert fit(ROWS, reject_target_precision=1.0).decision.reject_threshold == pytest.approx(0.65, abs=2e-4)


def test_a_precision_that_no_probability_reaches() -> None:
    fitted = fit([([0.9, 0.05, 0.03, 0.02], 1), ([0.6, 0.2, 0.1, 0.1], 0)], reject_target_precision=0.9)
    assert fitted.decision.reject_threshold is None
    assert fitted.decision.class_thresholds == dict.fromkeys(LABELS, NEVER)
    assert "no probability reaches --reject_target_precision 0.9" in fitted.decision.fitted["notes"][0]
    assert fitted.decision.top(np.array([1.0, 0, 0, 0]), LABELS)[0]["label"] == "unknown"
    # what is answered in place of a class is a class itself, and stays one
    certain = [([1.0, 1e-30, 1e-30, 1e-30], 2), ([0.1, 0.1, 0.7, 0.1], 2)]
    background = fit(certain, reject_false_accept_rate=0.2, reject_class="noise")
    assert background.decision.class_thresholds == {"a": NEVER, "b": NEVER, "rare": NEVER}
    assert "predicts other classes with probability 1 for 'noise' clips" in background.decision.fitted["notes"][0]


def test_figures_by_hand() -> None:
    probabilities = np.array([row for row, _ in ROWS])
    targets = np.array([target for _, target in ROWS])
    decision = Decision(reject_label="noise", reject_threshold=0.55)
    answers = decision.predictions(probabilities, LABELS)
    clips = LabelledScores(probabilities, targets, LABELS)
    figures = class_decision_figures(clips, answers, decision)
    assert figures["coverage"] == pytest.approx(4 / 7)
    assert figures["precision"] == pytest.approx(3 / 4)
    assert figures["accuracy"] == pytest.approx(6 / 7)
    assert figures["false_accept_rate"] == 0.0
    plain = class_decision_figures(clips, probabilities.argmax(axis=1), Decision())
    assert set(plain) == {"calibration_error", "loss"}
    line = summary_line(Decision(2.0, "noise", 0.55), {**figures, "calibration_error_before": 0.5})
    assert "temperature 2.000" in line
    assert "predicts a class for 0.5714 of the clips, 0.7500 of these correctly; the others are 'noise'" in line


def test_figures_are_not_of_the_clips_that_were_fitted_on() -> None:
    """Labels without any connection to the sound: thresholds fit them, and cross-fitting tells."""
    rng = np.random.default_rng(5)
    logits = (rng.normal(size=(60, 2)) * 2).astype(np.float32)
    targets = rng.integers(0, 2, 60)
    settings = DecisionArguments(reject_target_precision=0.8)
    fitted = fit_decision(single(logits), targets, ["a", "b"], settings, split="validation", data=CLIPS)
    probabilities = softmax(logits.astype(np.float64) / fitted.decision.temperature)
    clips = LabelledScores(probabilities, targets, ["a", "b"])
    own = class_decision_figures(clips, fitted.decision.predictions(probabilities, clips.labels), fitted.decision)
    assert own["precision"] >= 0.8
    assert fitted.metrics["precision"] < 0.7
    assert fitted.metrics["judged"].startswith("cross-fitted")


def test_calibration_on_other_clips_is_good() -> None:
    logits, targets = drawn(4000)
    settings = DecisionArguments(calibrate=True)
    fitted = fit_decision(single(logits * 3), targets, list("abcde"), settings, split="validation", data=CLIPS)
    assert fitted.metrics["calibration_error"] < 0.02 < fitted.metrics["calibration_error_before"]
    assert fitted.metrics["loss"] < fitted.metrics["loss_before"]
    other, truth = drawn(4000, seed=9)
    probabilities = softmax(other * 3 / fitted.decision.temperature)
    figures = class_decision_figures(LabelledScores(probabilities, truth, list("abcde")), truth, fitted.decision)
    assert figures["calibration_error"] < 0.02


def test_a_temperature_that_helps_nothing_stays_one() -> None:
    """Right as often as it says, but for clips that are wrong and certain: these alone ask for a high temperature."""
    logits, targets = drawn(2000)
    logits[:40] = 0
    logits[:40, 0] = 30
    targets[:40] = 1
    settings = DecisionArguments(calibrate=True, reject_target_precision=0.7)
    fitted = fit_decision(single(logits), targets, list("abcde"), settings, split="validation", data=CLIPS)
    assert fitted.decision.temperature == 1.0
    assert fitted.metrics["calibration_error"] == fitted.metrics["calibration_error_before"]
    assert "does not lower the calibration error" in fitted.decision.fitted["notes"][0]
    assert fitted.decision.reject_threshold is not None


@pytest.mark.parametrize(("scale", "why"), [(5.0, "predicts these clips too badly"), (1e-3, "too similar")])
def test_no_temperature_is_used_that_lies_at_an_end_of_the_range(scale: float, why: str) -> None:
    """Hot: targets that have nothing to do with logits. Cold: right ones, but far too small."""
    logits, targets = drawn(400)
    if scale > 1:
        targets = np.random.default_rng(3).integers(0, 5, 400)
    settings = DecisionArguments(calibrate=True, reject_target_precision=0.1)
    fitted = fit_decision(
        single(logits * np.float32(scale)), targets, list("abcde"), settings, split="validation", data=CLIPS
    )
    assert fitted.decision.temperature == 1.0
    assert "the best one is not between 0.05 and 20" in fitted.decision.fitted["notes"][0]
    assert why in fitted.decision.fitted["notes"][0]
    assert fitted.metrics["calibration_error"] == fitted.metrics["calibration_error_before"]
    assert fitted.decision.reject_threshold is not None


def test_few_clips_are_no_fault() -> None:
    one = WindowLogits(np.zeros((1, 4), np.float32), np.array([0]))
    settings = DecisionArguments(calibrate=True, target_precision=0.9)
    fitted = fit_decision(one, np.array([1]), LABELS, settings, split="test", data=CLIPS)
    assert fitted.metrics == {}
    assert summary_line(fitted.decision, fitted.metrics) == ""


@pytest.mark.parametrize(
    ("settings", "there", "says"),
    [
        ({"calibrate": True}, [], "no validation clips"),
        ({"target_precision": 0.9}, [], "no validation clips"),
        ({"reject_false_accept_rate": 0.1, "reject_class": "hum"}, ["a"], "'hum' is not a class of the model"),
        ({"reject_false_accept_rate": 0.1, "reject_class": "noise"}, ["a"], "no validation clips of --reject_class"),
    ],
)
def test_what_cannot_be_fitted_is_said_before(settings: dict, there: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        check_can_fit(
            DecisionArguments(**settings), LABELS, ClipTable([Clip(name, label=name) for name in there], "table")
        )
    check_can_fit(DecisionArguments(), LABELS, None)
