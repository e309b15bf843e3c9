"""One number for each clip, such as an age or a sound level."""

from __future__ import annotations

import numpy as np

from earmark.tasks.task import Task


class Regression(Task):
    """One number for each clip, standardised for training."""

    name = "regression"
    in_words = "a number"
    problem_type = "regression"
    no_label = "has no number"

    def unit(self, targets: np.ndarray) -> tuple[float, float] | None:
        """Return mean and standard deviation of the numbers."""
        numbers = targets.astype(float)
        return float(numbers.mean()), float(numbers.std())

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Return the numbers."""
        return logits

    def logits(self, scores: np.ndarray) -> np.ndarray:
        """Return the numbers."""
        return scores.astype(np.float32)
