"""Determine the task of a model: from its configuration, or from the user if the configuration does not state it.

Many public taggers, such as those for AudioSet, have no ``problem_type`` in their ``config.json``, and Transformers
treats them as models with one class per clip.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earmark.errors import ModelError, UsageError
from earmark.io.json_values import is_number, is_positive
from earmark.tasks import SINGLE_LABEL, Task, find_task, stated_task, write_task
from earmark.tasks.task_registry import TASKS

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

logger = logging.getLogger(__name__)

# Section of config.json for earmark; plain Transformers keeps it without using it.
CONFIG_KEY = "earmark"
_UNIT = ("mean", "deviation")  # numbers of a regression's unit
_MANY_LABELS = 100  # a model with at least this many labels and no stated task is probably a tagger


def saved_section(config: object, folder: Path) -> dict[str, Any]:
    """Return earmark's section of a configuration; empty if it has none.

    Raises:
        ModelError: it is damaged.
    """
    section = getattr(config, CONFIG_KEY, None)
    if section is None:
        return {}
    if isinstance(section, dict):
        length_s, unit = section.get("max_length_seconds"), section.get("unit")
        numbers = [] if unit is None else [unit.get(name) for name in _UNIT] if isinstance(unit, dict) else [None]
        if (length_s is None or is_positive(length_s)) and all(map(is_number, numbers)):
            return section
    raise ModelError(
        f"{folder}: the section {CONFIG_KEY!r} of config.json is damaged. Copy the file again from the model's source."
    )


class OtherTaskError(UsageError):
    """The task ``stated`` by a model is not the one that the user asks for."""

    def __init__(self, asked: str, stated: Task) -> None:
        super().__init__(f"--task {asked}: the model was trained for {stated.name}. Leave --task out.")
        self.stated = stated


def settle_task(config: PreTrainedConfig, asked: str | None, name: str) -> None:
    """Write the task that a user asks for into a configuration that states none.

    A single-label model of earmark has no ``problem_type`` either, but has earmark's section in the configuration.

    Args:
        config: configuration of Transformers; changed in place.
        asked: ``--task``; ``None`` if it was not given.
        name: name of the model, for messages.

    Raises:
        UsageError: there is no such task, or it needs another number of outputs.
        OtherTaskError: the configuration states another task.
    """
    stated = stated_task(config)
    if stated is None and getattr(config, CONFIG_KEY, None) is not None:
        stated = SINGLE_LABEL
    if asked is not None:
        task = asked_task(asked, stated)
        if not task.has_classes and config.num_labels != 1:
            raise UsageError(f"--task {asked}: {name} has {config.num_labels} outputs, but a regression needs one. "
                             "Use --task single_label or --task multi_label.")  # fmt: skip
        if stated is None and not task.has_one_class:
            write_task(config, task)
    elif stated is None and config.num_labels >= _MANY_LABELS:
        logger.info(
            "%s does not state the task of its %d labels, so earmark assumes exactly one label per clip. Add --task "
            "multi_label if it is a tagger.",
            name,
            config.num_labels,
        )


def asked_task(asked: str, stated: Task | None) -> Task:
    """Return the task that a user asks for.

    Args:
        asked: ``--task``.
        stated: task that the model states; ``None`` if it states none.

    Raises:
        UsageError: there is no such task.
        OtherTaskError: the model states another task.
    """
    try:
        task = find_task(asked)
    except ValueError as exc:
        raise UsageError(f"--task {asked}: unknown task. Use {', '.join(task.name for task in TASKS)}.") from exc
    if stated is not None and task is not stated:
        raise OtherTaskError(asked, stated)
    return task
