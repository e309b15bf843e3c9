"""The contract of a task: everything that differs between one class, several labels and a number.

A new task is one file with a subclass of :class:`Task`, and its line in :mod:`earmark.tasks.task_registry`.
``tests/tasks/test_toy_task.py`` is an example. Nothing else asks which task it is.

Shapes: N clips, W windows of a clip, C classes; C is 1 in a regression.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy as np

from earmark.tasks.pooling import pool

# a class name, the names of all labels of a clip (none is possible), or a number
Label = str | tuple[str, ...] | float


class LabelText(Protocol):
    """What a cell, or the name of a folder, says about a clip; a task takes it as one of these.

    Each raises an error that the table reports with the row if the text is of another kind.
    """

    def one_class(self) -> str | None:
        """Return the name of one class; ``None`` if it is missing."""

    def classes(self) -> tuple[str, ...]:
        """Return the names of several classes, of which there may be none."""

    def number(self) -> float:
        """Return a finite number."""


class Task(ABC):
    """The question that a model answers.

    Attributes:
        name: what ``--task`` and files call it.
        in_words: what a model answers, for messages.
        problem_type: what Transformers calls it in ``config.json``; ``None`` if it has no word for it.
        has_classes: whether labels are names of classes, of which the model has one output each.
        has_several: whether a clip may have several labels, or none.
        no_label: the fault of a clip without label in a table: ``has no label``.
        no_label_hint: what a table writes instead for a clip to which no label applies; empty if each has one.
    """

    SINGLE_LABEL: ClassVar[Task]
    MULTI_LABEL: ClassVar[Task]
    REGRESSION: ClassVar[Task]

    name: ClassVar[str]
    in_words: ClassVar[str]
    problem_type: ClassVar[str | None] = None
    has_classes: ClassVar[bool] = False
    has_several: ClassVar[bool] = False
    no_label: ClassVar[str] = "has no label"
    no_label_hint: ClassVar[str] = ""

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Any, ...]:
        from earmark.tasks.task_registry import find_task

        return find_task, (self.name,)  # a task is the same object in every process and copy

    @property
    def has_one_class(self) -> bool:
        """Whether each clip is of exactly one class, so that probabilities add up to 1."""
        return self.has_classes and not self.has_several

    # ---------------------------------------------------------------- labels

    @abstractmethod
    def read_label(self, text: LabelText) -> Label | None:
        """Return what a cell or the name of a folder says about its clip; ``None`` if the label is missing."""

    @abstractmethod
    def targets(self, labels: Sequence[Label], classes: Sequence[str]) -> np.ndarray:
        """Return what N labels are as numbers: what the loss is taken against and figures are computed from.

        Args:
            labels: N labels of this task.
            classes: names of the C outputs.

        Returns:
            (N,) or (N, C), of the type that the loss takes.
        """

    # ---------------------------------------------------------------- scores

    @abstractmethod
    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Return what logits (..., C) say: probabilities, or the number itself, in the type of the logits."""

    @abstractmethod
    def logits(self, scores: np.ndarray) -> np.ndarray:
        """Return logits float32 (..., C) that say ``scores``; of probabilities of 0 and 1 the nearest finite ones."""

    def pooled(self, logits: np.ndarray) -> np.ndarray:
        """Return the logits of a clip, float32 (C,), from those of its windows (W, C): the logits of the mean score."""
        if len(logits) == 1:
            only: np.ndarray = logits[0]
            return only
        return self.logits(pool(self.scores(logits)))
