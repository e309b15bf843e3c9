"""Tasks of a model: one class, several labels, or a number for each clip. One file for each task."""

from earmark.tasks.pooling import pool, sigmoid, softmax
from earmark.tasks.task import Task
from earmark.tasks.task_registry import (
    MULTI_LABEL,
    REGRESSION,
    SINGLE_LABEL,
    find_task,
    stated_task,
    task_of_config,
    write_task,
)

__all__ = [
    "MULTI_LABEL",
    "REGRESSION",
    "SINGLE_LABEL",
    "Task",
    "find_task",
    "pool",
    "sigmoid",
    "softmax",
    "stated_task",
    "task_of_config",
    "write_task",
]
