"""A number, such as an age or a level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from earmark.tasks.task import Task

if TYPE_CHECKING:
    from earmark.stats.uncertainty import Units
    from earmark.tasks.figures import Figures


class Regression(Task):
    """One number for each clip."""

    name = "regression"
    in_words = "a number"
    problem_type = "regression"

    metrics: ClassVar[Mapping[str, bool]] = {
        "mae": False,
        "rmse": False,
        "r2": True,
        "pearson": True,
        "spearman": True,
        "loss": False,
    }
    no_label = "has no number"

    def unit(self, targets: np.ndarray) -> tuple[float, float] | None:
        """Return mean and deviation: a number is learned in deviations, whatever its unit."""
        numbers = targets.astype(float)
        return float(numbers.mean()), float(numbers.std())

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Return the numbers."""
        return logits

    def logits(self, scores: np.ndarray) -> np.ndarray:
        """Return the numbers."""
        return scores.astype(np.float32)

    def figures(
        self,
        logits: np.ndarray,
        targets: np.ndarray,
        labels: Sequence[str],
        *,
        thresholds: np.ndarray | None = None,
        units: Units | None = None,
        intervals: bool = True,
    ) -> Figures:
        """Return :class:`earmark.tasks.regression_figures.RegressionMetrics`."""
        from earmark.tasks.regression_figures import compute_regression

        return compute_regression(logits, targets, units)
