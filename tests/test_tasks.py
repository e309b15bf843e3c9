"""What differs between one class, several labels and a number: scores, logits of scores, windows of a clip."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from earmark.tasks import Task, sigmoid, softmax


@pytest.mark.parametrize("task", list(Task))
def test_logits_of_scores_say_the_same_scores(task: Task) -> None:
    logits = np.random.default_rng(0).normal(0, 4, (5, 3)).astype(np.float32)
    scores = task.scores(logits)
    np.testing.assert_allclose(task.scores(task.logits(scores)), scores, atol=1e-6)


def test_certain_probabilities_stay_finite_as_logits() -> None:
    certain = np.array([[0.0, 1.0]])
    for task in (Task.SINGLE_LABEL, Task.MULTI_LABEL):
        assert np.isfinite(task.logits(certain)).all()


def test_a_clip_is_the_mean_of_its_windows() -> None:
    windows = np.array([[2.0, -1.0], [0.0, 3.0]], dtype=np.float32)
    np.testing.assert_allclose(softmax(Task.SINGLE_LABEL.merged(windows)), softmax(windows).mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(sigmoid(Task.MULTI_LABEL.merged(windows)), sigmoid(windows).mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(Task.REGRESSION.merged(windows), windows.mean(axis=0))


def test_large_logits_overflow_nowhere() -> None:
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_array_equal(sigmoid(np.array([-1e4, 0.0, 1e4])), [0.0, 0.5, 1.0])


@pytest.mark.parametrize("task", list(Task))
def test_a_configuration_tells_its_task(task: Task) -> None:
    assert Task.of_config(SimpleNamespace(problem_type=task.problem_type)) is task
    assert Task.of_config(SimpleNamespace()) is Task.SINGLE_LABEL
