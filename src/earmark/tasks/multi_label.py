"""For each label whether it is there: a probability each; none, some or all may be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from earmark.tasks.pooling import sigmoid
from earmark.tasks.task import Label, LabelText, Task

_TINY = float(np.finfo(np.float32).tiny)
_SURE = 1 - float(np.finfo(np.float32).epsneg)


class MultiLabel(Task):
    """Several labels for each clip, or none."""

    name = "multi_label"
    in_words = "several labels a clip"
    problem_type = "multi_label_classification"
    has_classes = True
    has_several = True
    no_label = "has no labels"
    no_label_hint = "a clip with none of them has an empty list or text"

    def read_label(self, text: LabelText) -> Label | None:
        """Return the names of all labels."""
        return text.classes()

    def targets(self, labels: Sequence[Label], classes: Sequence[str]) -> np.ndarray:
        """Return which labels are there, float32 (N, C): 1 or 0."""
        index = {name: i for i, name in enumerate(classes)}
        there = np.zeros((len(labels), len(classes)), np.float32)
        for row, label in enumerate(labels):
            there[row, [index[name] for name in (label if isinstance(label, tuple) else (str(label),))]] = 1
        return there

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Return the probability of each label."""
        return sigmoid(logits)

    def logits(self, scores: np.ndarray) -> np.ndarray:
        """Return the log odds of each label."""
        inside = np.clip(scores.astype(np.float64), _TINY, _SURE)
        return (np.log(inside) - np.log1p(-inside)).astype(np.float32)
