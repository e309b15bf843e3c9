"""A number, such as an age or a level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from earmark.tasks.task import Label, LabelText, Task


class Regression(Task):
    """One number for each clip."""

    name = "regression"
    in_words = "a number"
    problem_type = "regression"

    no_label = "has no number"

    def read_label(self, text: LabelText) -> Label | None:
        """Return the number."""
        return text.number()

    def targets(self, labels: Sequence[Label], classes: Sequence[str]) -> np.ndarray:
        """Return the numbers, float32 (N,)."""
        return np.array(labels, np.float32)

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Return the numbers."""
        return logits

    def logits(self, scores: np.ndarray) -> np.ndarray:
        """Return the numbers."""
        return scores.astype(np.float32)
