"""What differs between one class, several labels and a number: scores, logits of scores, windows of a clip."""

from __future__ import annotations

import copy
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from earmark.cli.main import main
from earmark.settings.data_flags import DataArguments
from earmark.tasks import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Task, find_task, pool, sigmoid, softmax, task_of_config
from earmark.tasks.task_registry import TASKS


@pytest.mark.parametrize("task", TASKS)
def test_logits_of_scores_say_the_same_scores(task: Task) -> None:
    logits = np.random.default_rng(0).normal(0, 4, (5, 3)).astype(np.float32)
    scores = task.scores(logits)
    np.testing.assert_allclose(task.scores(task.logits(scores)), scores, atol=1e-6)


def test_certain_probabilities_stay_finite_as_logits() -> None:
    certain = np.array([[0.0, 1.0]])
    for task in (SINGLE_LABEL, MULTI_LABEL):
        assert np.isfinite(task.logits(certain)).all()


def test_a_clip_is_the_mean_of_its_windows() -> None:
    windows = np.array([[2.0, -1.0], [0.0, 3.0]], dtype=np.float32)
    np.testing.assert_allclose(softmax(SINGLE_LABEL.pooled(windows)), softmax(windows).mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(sigmoid(MULTI_LABEL.pooled(windows)), sigmoid(windows).mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(REGRESSION.pooled(windows), windows.mean(axis=0))


def test_small_probabilities_of_a_clip_are_kept() -> None:
    windows = np.array([[0.0, 150.0], [0.0, 150.0]], np.float32)
    logits = SINGLE_LABEL.pooled(windows)
    assert logits[1] - logits[0] == pytest.approx(150.0)


def test_large_logits_overflow_nowhere() -> None:
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_array_equal(sigmoid(np.array([-1e4, 0.0, 1e4])), [0.0, 0.5, 1.0])


@pytest.mark.parametrize("task", TASKS)
def test_a_configuration_tells_its_task(task: Task) -> None:
    assert task_of_config(SimpleNamespace(problem_type=task.problem_type)) is task
    assert task_of_config(SimpleNamespace()) is SINGLE_LABEL


def test_clips_are_pooled_each_over_its_own_windows() -> None:
    windows = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    starts = np.array([0, 1, 4])
    expected = [windows[:1].mean(axis=0), windows[1:4].mean(axis=0), windows[4:].mean(axis=0)]
    np.testing.assert_allclose(pool(windows, starts), expected, rtol=1e-6)
    np.testing.assert_allclose(pool(windows[1:4]), expected[1], rtol=1e-6)
    np.testing.assert_array_equal(pool(windows, np.arange(6)), windows)


@pytest.mark.parametrize("task", TASKS)
def test_a_copied_or_pickled_task_is_the_same_task(task: Task) -> None:
    assert copy.deepcopy(task) is task
    assert pickle.loads(pickle.dumps(task)) is task


def test_an_unknown_task_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'ranking' is not a task: expected single_label, multi_label, regression"):
        find_task("ranking")


def test_the_flag_names_every_task(capsys: pytest.CaptureFixture[str]) -> None:
    names = [task.name for task in TASKS]
    assert main(["train", "--task", "ranking"]) == 2
    assert f"--task ranking: expected {', '.join(names[:-1])} or {names[-1]}" in capsys.readouterr().err
    assert all(name in DataArguments.__dataclass_fields__["task"].metadata["help"] for name in names)
