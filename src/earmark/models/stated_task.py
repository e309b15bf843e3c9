"""Which task a model has: what its configuration says, or what the user says about a configuration that does not.

Many public taggers, those of AudioSet first, have no ``problem_type`` in their ``config.json``, and Transformers takes
them for models of one class a clip.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from earmark.errors import UsageError
from earmark.models.head import CONFIG_KEY
from earmark.tasks import SINGLE_LABEL, Task, find_task, stated_task, write_task

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

logger = logging.getLogger(__name__)

_MANY_LABELS = 100  # from here on a model without a stated task is likely to be a tagger


class OtherTaskError(UsageError):
    """A model says another task than the user: ``stated``."""

    def __init__(self, asked: str, stated: Task) -> None:
        super().__init__(f"--task {asked}: the model was trained for {stated.name}. Leave --task out.")
        self.stated = stated


def settle_task(config: PreTrainedConfig, asked: str | None, name: str) -> None:
    """Let a configuration state the task that a user asks for, if it states none.

    A model that earmark has trained for single labels has no ``problem_type`` either, but a section of its own.

    Args:
        config: configuration of Transformers; changed in place.
        asked: ``--task``; ``None`` if it was not given.
        name: of the model, for messages.

    Raises:
        UsageError: there is no such task, or the model does not have its outputs.
        OtherTaskError: the configuration states another task.
    """
    stated = stated_task(config)
    if stated is None and getattr(config, CONFIG_KEY, None) is not None:
        stated = SINGLE_LABEL
    if asked is not None:
        task = asked_task(asked, stated)
        if not task.has_classes and config.num_labels != 1:
            raise UsageError(f"--task {asked}: {name} has {config.num_labels} outputs, and a number is one. "
                             "Use --task single_label or --task multi_label.")  # fmt: skip
        if stated is None and not task.has_one_class:
            write_task(config, task)
    elif stated is None and config.num_labels >= _MANY_LABELS:
        logger.info(
            "%s does not say what its %d labels mean, so exactly one of them is taken to be right for each clip. Add "
            "--task multi_label if it is a tagger",
            name,
            config.num_labels,
        )


def asked_task(asked: str, stated: Task | None) -> Task:
    """Return the task that a user asks for.

    Args:
        asked: ``--task``.
        stated: what the model says; ``None`` if it says nothing.

    Raises:
        UsageError: there is no such task.
        OtherTaskError: the model says another one.
    """
    try:
        task = find_task(asked)
    except ValueError as exc:
        raise UsageError(f"--task {exc}") from exc
    if stated is not None and task is not stated:
        raise OtherTaskError(asked, stated)
    return task
