"""Models that learned nothing are called that."""

from __future__ import annotations

import numpy as np
import pytest

from earmark.scoring.diagnosis import Schedule, diagnose, diagnose_splits
from earmark.tasks.multi_label_figures import compute_multi_label
from earmark.tasks.regression_figures import compute_regression
from earmark.tasks.single_label_figures import Metrics, compute_metrics

PUBLISHED = Schedule(steps=250, learning_rate=3e-5, global_batch_size=1024, pretrained=True)


def metrics(targets: list[int], predicted: list[int], classes: int = 3) -> Metrics:
    labels = [f"class {i}" for i in range(classes)]
    return compute_metrics(np.eye(classes, dtype=np.float32)[predicted], np.array(targets), labels)


def test_the_published_result_is_no_result_and_the_cause_is_named() -> None:
    finding, advice = diagnose(metrics([0] * 637 + [1] * 200 + [2] * 163, [0] * 1000), PUBLISHED)
    assert "the same class for all 1,000 clips" in finding
    assert "0.6370" in finding
    assert "250 steps of 1,024 clips" in advice
    assert "0.0038" in advice
    assert "smaller global batch" in advice


def test_a_run_that_stopped_early_is_told_of_its_patience() -> None:
    nothing = metrics([0] * 6 + [1] * 4, [0] * 10)
    advice = diagnose(nothing, Schedule(250, 3e-5, 1024, pretrained=True, stopped_early=True))[1]
    assert "Raise --early_stopping_patience" in advice
    assert "num_train_epochs" not in advice
    assert "too little training" not in advice


def test_a_sum_measured_with_another_model_is_not_mentioned() -> None:
    whisper = Schedule(steps=20, learning_rate=1e-4, global_batch_size=32, pretrained=True, is_wav2vec2_base=False)
    _, advice = diagnose(metrics([0] * 637 + [1] * 200 + [2] * 163, [0] * 1000), whisper)
    assert "20 steps of 32 clips" in advice
    assert "wav2vec2" not in advice


def test_several_classes_but_no_better_than_the_majority() -> None:
    finding, _ = diagnose(metrics([0] * 60 + [1] * 20 + [2] * 20, [0] * 50 + [1] * 10 + [0] * 40), PUBLISHED)
    assert "does not beat" in finding


def test_a_model_that_works_is_left_alone() -> None:
    targets = [0] * 60 + [1] * 20 + [2] * 20
    assert diagnose(metrics(targets, targets), PUBLISHED) == []


def test_trading_the_frequent_class_for_rare_ones_is_no_failure() -> None:
    targets = [0] * 900 + [1] * 50 + [2] * 50
    predicted = [0] * 600 + [1] * 150 + [2] * 150 + [1] * 50 + [2] * 50
    assert metrics(targets, predicted).accuracy < 0.9
    assert diagnose(metrics(targets, predicted), PUBLISHED) == []


def test_clips_of_one_class_say_nothing() -> None:
    assert diagnose(metrics([0] * 10, [0] * 10)) == []


def right_and_wrong(right: int, targets: list[int], classes: int) -> Metrics:
    """The first ``right`` clips are predicted right, the others as the class after theirs."""
    return metrics(targets, [t if i < right else (t + 1) % classes for i, t in enumerate(targets)], classes)


def test_below_the_majority_rate_in_many_small_classes() -> None:
    # 2 of 30 clips right: the balanced accuracy is twice that of one class, by chance
    targets = [0] * 5 + [1 + i % 12 for i in range(25)]
    found = metrics(targets, [(t + 1) % 13 if i not in (6, 20) else t for i, t in enumerate(targets)], 13)
    assert found.accuracy == pytest.approx(0.0667, abs=1e-4)
    assert found.majority_class_rate == pytest.approx(0.1667, abs=1e-4)
    finding, advice = diagnose(found)
    assert "does not beat 0.1667, the rate of always predicting 'class 0'" in finding
    assert "Train longer" in advice


@pytest.mark.parametrize(("clips", "warns"), [(20, True), (2000, False)])
def test_few_clips_prove_less_than_many(clips: int, warns: bool) -> None:
    # 60 % right of two equally frequent classes
    found = right_and_wrong(clips * 6 // 10, [0, 1] * (clips // 2), 2)
    lines = diagnose(found)
    assert bool(lines) == warns
    if warns:
        assert (
            "better than 0.5000, the rate of always predicting 'class 0', but the difference may be chance" in lines[0]
        )


@pytest.mark.parametrize("labels", [3, 50])
def test_random_scores_of_several_labels_are_called_that(labels: int) -> None:
    rng = np.random.default_rng(0)
    there = (rng.random((200, labels)) < 0.05).astype(np.float32)
    noise = rng.standard_normal(there.shape)
    names = [str(i) for i in range(labels)]
    for intervals in (True, False):
        random = compute_multi_label(noise, there, names, intervals=intervals)
        assert "the mAP of random scores" in diagnose(random)[0]
        # random scores beat the share of clips with a label, by much where labels are rare
        assert random.chance_average_precision > random.mean_prevalence
        learned = compute_multi_label(noise + 4 * there, there, names, intervals=intervals)
        assert diagnose(learned) == []


def test_chance_is_the_mean_over_random_orders() -> None:
    rng = np.random.default_rng(0)
    there = np.zeros((20, 2), dtype=np.float32)
    there[:3, 0] = there[:9, 1] = 1
    drawn = [
        compute_multi_label(rng.standard_normal(there.shape), there, ["a", "b"], intervals=False) for _ in range(400)
    ]
    mean = np.mean([one.mean_average_precision for one in drawn])
    assert drawn[0].chance_average_precision == pytest.approx(mean, abs=0.02)


def test_a_regression_within_chance_of_the_median() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.normal(50, 10, 12).astype(np.float32)
    nearly = compute_regression((np.median(numbers) + 0.1 * (numbers - np.median(numbers)))[:, None], numbers)
    assert nearly.mae < nearly.median_mae
    assert "the error of always predicting the median, but the difference may be chance" in diagnose(nearly)[0]
    assert diagnose(compute_regression(numbers[:, None] + 0.5, numbers)) == []


def test_every_split_is_looked_at() -> None:
    good, bad = right_and_wrong(100, [0, 1] * 50, 2), right_and_wrong(50, [0, 1] * 50, 2)
    lines = diagnose_splits({"validation": bad, "test": good}, PUBLISHED)
    assert [line.split(":")[0] for line in lines] == ["validation", "Likely cause"]
    assert len(diagnose_splits({"validation": bad, "test": bad}, PUBLISHED)) == 3
    assert diagnose_splits({"validation": good, "test": good}, PUBLISHED) == []
