"""What a model is asked: which one class, which of several labels, or which number. What differs, in one place.

Shapes: W windows, C classes; C is 1 in a regression.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np

_TINY = float(np.finfo(np.float32).tiny)
_SURE = 1 - float(np.finfo(np.float32).epsneg)


class Task(str, Enum):
    """The question that a model answers.

    Attributes:
        SINGLE_LABEL: which one of the classes a clip is of: probabilities that add up to 1.
        MULTI_LABEL: for each label whether it is there: a probability each; none, some or all may be.
        REGRESSION: a number, such as an age or a level.
    """

    SINGLE_LABEL = "single_label"
    MULTI_LABEL = "multi_label"
    REGRESSION = "regression"

    @property
    def problem_type(self) -> str:
        """What Transformers calls it in ``config.json``."""
        return self.value if self is Task.REGRESSION else f"{self.value}_classification"

    @classmethod
    def of_config(cls, config: Any) -> Task:
        """The task of a model with this configuration; single labels where it says nothing."""
        kinds = {task.problem_type: task for task in cls}
        return kinds.get(getattr(config, "problem_type", None) or "", cls.SINGLE_LABEL)

    @property
    def in_words(self) -> str:
        """For messages."""
        return {"single_label": "one label a clip", "multi_label": "several labels a clip"}.get(self.value, "a number")

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """What logits (..., C) say: probabilities, or the number itself, in the type of the logits."""
        if self is Task.SINGLE_LABEL:
            return softmax(logits)
        return sigmoid(logits) if self is Task.MULTI_LABEL else logits

    def logits(self, scores: np.ndarray) -> np.ndarray:
        """Logits float32 (..., C) that say ``scores``; of probabilities of 0 and 1 the nearest that are finite."""
        if self is Task.SINGLE_LABEL:
            return np.log(np.maximum(scores, _TINY)).astype(np.float32)
        if self is Task.MULTI_LABEL:
            inside = np.clip(scores.astype(np.float64), _TINY, _SURE)
            return (np.log(inside) - np.log1p(-inside)).astype(np.float32)
        return scores.astype(np.float32)

    def merged(self, logits: np.ndarray) -> np.ndarray:
        """Logits (W, C) of the windows of one clip to those of the clip, float32 (C,): of their mean score."""
        if len(logits) == 1:
            only: np.ndarray = logits[0]
            return only
        return self.logits(self.scores(logits).mean(axis=0))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits along the last axis, which add up to 1."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: np.ndarray = shifted / shifted.sum(axis=-1, keepdims=True)
    return probabilities


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """The probability that each logit stands for, by itself."""
    small = np.exp(-np.abs(logits))  # never overflows
    probabilities: np.ndarray = np.where(logits >= 0, 1 / (1 + small), small / (1 + small))
    return probabilities
