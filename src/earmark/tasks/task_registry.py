"""Which tasks there are, found by name or by the configuration of a model."""

from __future__ import annotations

from typing import Any

from earmark.tasks.multi_label import MultiLabel
from earmark.tasks.regression import Regression
from earmark.tasks.single_label import SingleLabel
from earmark.tasks.task import Task

SINGLE_LABEL, MULTI_LABEL, REGRESSION = SingleLabel(), MultiLabel(), Regression()
TASKS: tuple[Task, ...] = (SINGLE_LABEL, MULTI_LABEL, REGRESSION)
Task.SINGLE_LABEL, Task.MULTI_LABEL, Task.REGRESSION = TASKS


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


def task_of_config(config: Any) -> Task:
    """Return the task of a model with this configuration of Transformers; single labels if it names none."""
    return stated_task(config) or SINGLE_LABEL


def stated_task(config: Any) -> Task | None:
    """Return the task that a configuration of Transformers names; ``None`` if it names none."""
    kind = getattr(config, "problem_type", None)
    return next((task for task in TASKS if kind and task.problem_type == kind), None)
