"""A number, such as an age or a level."""

from __future__ import annotations

import numpy as np

from earmark.tasks.base import Task


class Regression(Task):
    """One number for each clip."""

    name = "regression"
    in_words = "a number"
    problem_type = "regression"

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Return the numbers."""
        return logits

    def logits(self, scores: np.ndarray) -> np.ndarray:
        """Return the numbers."""
        return scores.astype(np.float32)
