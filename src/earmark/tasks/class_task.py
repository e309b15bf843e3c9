"""The common base of the tasks with classes: one output for each class, and probabilities as scores.

Shapes: N clips, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from earmark.tasks.reported_task import ShownMetric
from earmark.tasks.task import Task

MACRO_F1 = ShownMetric("macro_f1", "Macro-F1", curve="macro-F1")


def class_metrics(*best_high: str) -> dict[str, bool]:
    """Return whether a higher value is better, by metric: for ``best_high`` and for loss and calibration error."""
    return {**dict.fromkeys(best_high, True), "loss": False, "expected_calibration_error": False}


class ClassTask(Task):
    """A task whose labels are names of classes."""

    has_classes = True
    row_columns: ClassVar[tuple[str, ...]] = ("correct",)
    difference_unit = "in a probability"
    digits = ".4f"
    paired_test: ClassVar[tuple[str, str]] = ("McNemar", "McNemar's exact test")

    def spread(self, scores: np.ndarray) -> float:
        """Return 1, because probabilities need no scaling before they are compared."""
        return 1.0

    def columns(self, labels: Sequence[str]) -> list[str]:
        """Return the columns of ``predictions_SPLIT.csv`` up to the probabilities of C classes."""
        return ["path", "label", "predicted", *self.row_columns, *(f"p({label})" for label in labels)]

    def gaps(self, targets: np.ndarray, first: np.ndarray, other: np.ndarray) -> dict[str, object] | None:
        """Return ``None``, because a predicted class is either right or wrong."""
        return None
