"""The metrics that can choose a model: all of them are listed, each with the direction that it really has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from earmark.errors import UsageError
from earmark.tasks import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Task
from earmark.tasks.figures import check_direction, higher_is_better, metric_key
from earmark.tasks.task import FigureOptions
from earmark.tasks.task_registry import TASKS

LABELS = [f"class {i}" for i in range(8)]
# Numbers in metrics.json that describe the clips or a baseline, not the model.
NO_METRICS = {
    "num_clips",
    "majority_class_rate",
    "predicted_classes",
    "mean_prevalence",
    "majority_match",
    "median_mae",
}


def predictions(task: Task, error: float) -> tuple[np.ndarray, np.ndarray]:
    """Targets and logits of 160 clips; the larger ``error``, the worse the logits."""
    rng = np.random.default_rng(0)
    if task is REGRESSION:
        numbers = rng.normal(50, 10, 160).astype(np.float32)
        return numbers, (numbers + error * 10 * rng.standard_normal(160))[:, None]
    classes = rng.integers(len(LABELS), size=160)
    there = np.eye(len(LABELS), dtype=np.float32)[classes]
    # the noise is not smaller where the prediction is wrong, so bad logits are overconfident too
    logits = 8 * (there - 0.5) + error * 8 * rng.standard_normal(there.shape)
    return (there if task is MULTI_LABEL else classes), logits


def values(task: Task, error: float) -> dict[str, Any]:
    targets, logits = predictions(task, error)
    return task.figures(logits, targets, LABELS, FigureOptions(intervals=False)).to_dict()


@pytest.mark.parametrize("task", TASKS)
def test_every_metric_is_listed_with_its_direction(task: Task) -> None:
    good, bad = values(task, 0.1), values(task, 2.0)
    numbers = {name for name, value in good.items() if isinstance(value, (int, float))}
    assert numbers == set(task.metrics) | (NO_METRICS & numbers)
    for name, higher in task.metrics.items():
        assert (good[name] > bad[name]) == higher, name
        assert higher_is_better(name) == higher, f"{name}: another task has another direction"


@pytest.mark.parametrize("task", TASKS)
def test_the_headline_is_the_first_metric(task: Task) -> None:
    targets, logits = predictions(task, 1.0)
    headline = task.figures(logits, targets, LABELS).headline
    assert headline.name == next(iter(task.metrics))
    assert headline.higher_is_better == task.metrics[headline.name]


def test_a_flag_that_contradicts_the_metric_is_refused() -> None:
    assert check_direction(REGRESSION, "mae", None) is False
    assert check_direction(REGRESSION, "mae", False) is False
    with pytest.raises(UsageError, match="--greater_is_better True: mae is better when it is lower"):
        check_direction(REGRESSION, "mae", True)
    with pytest.raises(UsageError, match="--greater_is_better False: accuracy is better when it is higher"):
        check_direction(SINGLE_LABEL, "accuracy", False)


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"maa: not a metric of this task \(a number\)\. Choose one of mae, rmse, r2"):
        check_direction(REGRESSION, "maa", False)


def test_a_metric_of_a_folder_needs_its_direction() -> None:
    assert check_direction(SINGLE_LABEL, "error_rate", False, has_folder=True) is False
    with pytest.raises(UsageError, match="Add --greater_is_better True or --greater_is_better False"):
        check_direction(SINGLE_LABEL, "error_rate", None, has_folder=True)


def test_names_as_transformers_has_them() -> None:
    assert [metric_key(name) for name in ("eval_rmse", "rmse", None)] == ["rmse", "rmse", "loss"]
