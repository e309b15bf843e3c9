"""Which tasks there are, found by name or by the configuration of a model."""

from __future__ import annotations

from typing import Any

from earmark.tasks.multi_label import MultiLabel
from earmark.tasks.regression import Regression
from earmark.tasks.single_label import SingleLabel
from earmark.tasks.task import Task

SINGLE_LABEL, MULTI_LABEL, REGRESSION = SingleLabel(), MultiLabel(), Regression()
TASKS: tuple[Task, ...] = (SINGLE_LABEL, MULTI_LABEL, REGRESSION)
_OWN_KEY = "earmark_task"  # in config.json, of a task that Transformers has no word for


def find_task(name: str | None) -> Task:
    """Return the task of this name; single labels without one.

    Raises:
        ValueError: there is no such task.
    """
    if name is None:
        return SINGLE_LABEL
    found = next((task for task in TASKS if task.name == name), None)
    if found is None:
        raise ValueError(f"{name!r} is no task: expected {', '.join(task.name for task in TASKS)}")
    return found


def task_of_config(config: object) -> Task:
    """Return the task of a model with this configuration of Transformers; single labels if it names none."""
    return stated_task(config) or SINGLE_LABEL


def stated_task(config: object) -> Task | None:
    """Return the task that a configuration of Transformers names; ``None`` if it names none."""
    own, kind = getattr(config, _OWN_KEY, None), getattr(config, "problem_type", None)
    named = (task for task in TASKS if (own and task.name == own) or (kind and task.problem_type == kind))
    return next(named, None)


def write_task(config: Any, task: Task) -> None:
    """Let a configuration of Transformers name a task.

    Transformers has its own words for the tasks that it knows, and refuses the one for single labels if there is one
    class, so a model of single labels names none.
    """
    config.problem_type = None if task is SINGLE_LABEL else task.problem_type
    if task is not SINGLE_LABEL and task.problem_type is None:
        setattr(config, _OWN_KEY, task.name)
    elif hasattr(config, _OWN_KEY):
        delattr(config, _OWN_KEY)
