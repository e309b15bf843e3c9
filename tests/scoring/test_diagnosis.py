"""Models that learned nothing are called that."""

from __future__ import annotations

import numpy as np

from earmark.scoring.diagnosis import Schedule, diagnose
from earmark.scoring.metrics import Metrics, compute_metrics

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
