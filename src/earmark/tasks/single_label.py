"""Which one of the classes a clip is of: probabilities that add up to 1."""

from __future__ import annotations

import numpy as np

from earmark.tasks.base import Task
from earmark.tasks.pooling import softmax

_TINY = float(np.finfo(np.float32).tiny)


class SingleLabel(Task):
    """One class for each clip."""

    name = "single_label"
    in_words = "one label a clip"
    problem_type = "single_label_classification"
    has_classes = True

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Return probabilities that add up to 1."""
        return softmax(logits)

    def logits(self, scores: np.ndarray) -> np.ndarray:
        """Return the logarithms of probabilities."""
        return np.log(np.maximum(scores, _TINY)).astype(np.float32)
