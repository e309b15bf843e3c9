"""The list of tasks, and how to find one by name or in a model's configuration."""

from __future__ import annotations

from typing import Any

from earmark.tasks.multi_label import MultiLabel
from earmark.tasks.regression import Regression
from earmark.tasks.single_label import SingleLabel
from earmark.tasks.task import Task

SINGLE_LABEL, MULTI_LABEL, REGRESSION = SingleLabel(), MultiLabel(), Regression()
TASKS: tuple[Task, ...] = (SINGLE_LABEL, MULTI_LABEL, REGRESSION)
_OWN_KEY = "earmark_task"  # key in config.json for a task without a problem_type of Transformers


def find_task(name: str | None) -> Task:
    """Return the task with this name, or the single-label task for ``None``.

    Raises:
        ValueError: no task has this name.
    """
    if name is None:
        return SINGLE_LABEL
    found = next((task for task in TASKS if task.name == name), None)
    if found is None:
        raise ValueError(f"{name!r} is not a task: expected {', '.join(task.name for task in TASKS)}")
    return found


def task_of_config(config: object) -> Task:
    """Return the task that a Transformers configuration names, or the single-label task if it names none."""
    return stated_task(config) or SINGLE_LABEL


def stated_task(config: object) -> Task | None:
    """Return the task that a Transformers configuration names; ``None`` if it names none."""
    own, kind = getattr(config, _OWN_KEY, None), getattr(config, "problem_type", None)
    named = (task for task in TASKS if (own and task.name == own) or (kind and task.problem_type == kind))
    return next(named, None)


def write_task(config: Any, task: Task) -> None:
    """Write a task into a Transformers configuration.

    The single-label task is not written: Transformers rejects its ``problem_type`` for a model with one class.
    """
    config.problem_type = None if task is SINGLE_LABEL else task.problem_type
    if task is not SINGLE_LABEL and task.problem_type is None:
        setattr(config, _OWN_KEY, task.name)
    elif hasattr(config, _OWN_KEY):
        delattr(config, _OWN_KEY)
