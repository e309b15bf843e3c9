"""Metric functions: what they get by the names of their parameters, for each task."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import pytest

from earmark.scoring.extra_metrics import ExtraMetrics, named_functions
from earmark.tasks import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Task
from earmark.tasks.task_registry import TASKS

LOGITS = np.array([[2.0, -1.0], [0.5, 1.0], [-1.0, 3.0]], dtype=np.float32)
TARGETS = {
    SINGLE_LABEL: np.array([0, 0, 1]),
    MULTI_LABEL: np.array([[1, 0], [1, 1], [0, 1]], dtype=np.float32),
    REGRESSION: np.array([1.5, 0.5, -2.0], dtype=np.float32),
}


def figures(task: Task, **functions: Callable[..., object]) -> dict[str, float]:
    logits = LOGITS[:, :1] if task is REGRESSION else LOGITS
    return ExtraMetrics(functions=named_functions(functions)).of_functions(task, logits, TARGETS[task])  # type: ignore[arg-type]


@pytest.mark.parametrize("task", TASKS)
def test_names_of_parameters_say_what_a_function_gets(task: Task) -> None:
    seen: dict[str, np.ndarray] = {}

    def all_names(predictions, references, logits, probabilities) -> float:  # type: ignore[no-untyped-def]
        seen.update(predictions=predictions, references=references, logits=logits, probabilities=probabilities)
        return 1

    def other_names(y_true, y_pred, y_score, targets) -> float:  # type: ignore[no-untyped-def]
        assert np.array_equal(y_true, seen["references"])
        assert np.array_equal(targets, seen["references"])
        assert np.array_equal(y_pred, seen["predictions"])
        assert np.array_equal(y_score, seen["probabilities"])
        return 2

    assert figures(task, all_names=all_names, other_names=other_names) == {"all_names": 1, "other_names": 2}
    assert np.array_equal(seen["references"], TARGETS[task])
    for name, values in seen.items():  # a function that sorts in place would change what is saved
        assert values is not TARGETS[task]
        assert not values.flags.writeable, name
    expected = {
        SINGLE_LABEL: [0, 1, 1],
        MULTI_LABEL: [[1, 0], [1, 1], [0, 1]],
        REGRESSION: [2.0, 0.5, -1.0],
    }
    assert seen["predictions"].tolist() == expected[task]
    if task is SINGLE_LABEL:
        assert seen["probabilities"].sum(axis=1) == pytest.approx(1)


def test_functions_of_scikit_learn_work_as_they_are() -> None:
    from sklearn.metrics import matthews_corrcoef, mean_absolute_error

    named = named_functions([matthews_corrcoef, mean_absolute_error])
    assert list(named) == ["matthews_corrcoef", "mean_absolute_error"]
    assert figures(SINGLE_LABEL, mcc=matthews_corrcoef) == {"mcc": pytest.approx(0.5)}
    assert figures(REGRESSION, mae=mean_absolute_error) == {"mae": pytest.approx(0.5)}


def test_a_figure_that_is_not_finite_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "earmark"):
        found = figures(SINGLE_LABEL, ratios=lambda logits: {"good": np.float32(0.5), "bad": np.nan})
    assert found == {"good": 0.5}
    assert "metric ratios: bad is left out, because it is nan" in caplog.text


def test_without_metrics_there_is_nothing() -> None:
    assert not ExtraMetrics()
    assert ExtraMetrics("folder")
    assert ExtraMetrics(functions={"f": len})
    assert ExtraMetrics().of_functions(SINGLE_LABEL, LOGITS, TARGETS[SINGLE_LABEL]) == {}
    assert ExtraMetrics().of_folder(SINGLE_LABEL, LOGITS, TARGETS[SINGLE_LABEL]) == {}
