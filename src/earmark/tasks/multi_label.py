"""For each label whether it is there: a probability each; none, some or all may be."""

from __future__ import annotations

import numpy as np

from earmark.tasks.base import Task
from earmark.tasks.pooling import sigmoid

_TINY = float(np.finfo(np.float32).tiny)
_SURE = 1 - float(np.finfo(np.float32).epsneg)


class MultiLabel(Task):
    """Several labels for each clip, or none."""

    name = "multi_label"
    in_words = "several labels a clip"
    problem_type = "multi_label_classification"
    has_classes = True
    has_several = True

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Return the probability of each label."""
        return sigmoid(logits)

    def logits(self, scores: np.ndarray) -> np.ndarray:
        """Return the log odds of each label."""
        inside = np.clip(scores.astype(np.float64), _TINY, _SURE)
        return (np.log(inside) - np.log1p(-inside)).astype(np.float32)
