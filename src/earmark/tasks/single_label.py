"""Which one of the classes a clip is of: probabilities that add up to 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from earmark.tasks.pooling import softmax
from earmark.tasks.task import Label, LabelText, Task

_TINY = float(np.finfo(np.float32).tiny)


class SingleLabel(Task):
    """One class for each clip."""

    name = "single_label"
    in_words = "one label a clip"
    problem_type = "single_label_classification"
    has_classes = True

    def read_label(self, text: LabelText) -> Label | None:
        """Return the name of the class."""
        return text.one_class()

    def targets(self, labels: Sequence[Label], classes: Sequence[str]) -> np.ndarray:
        """Return class indices, int64 (N,)."""
        index = {name: i for i, name in enumerate(classes)}
        return np.array([index[label[0] if isinstance(label, tuple) else str(label)] for label in labels], np.int64)

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Return probabilities that add up to 1."""
        return softmax(logits)

    def logits(self, scores: np.ndarray) -> np.ndarray:
        """Return the logarithms of probabilities."""
        return np.log(np.maximum(scores, _TINY)).astype(np.float32)
