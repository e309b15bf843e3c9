"""Metrics of regression models.

Shapes: N clips, R bootstrap sets of clips.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy

from earmark.stats.uncertainty import REPLICATES, Interval, Units, percentile_interval
from earmark.tasks.figures import CardTable, Headline, against_baseline, units_to_judge
from earmark.text import counted


@dataclass(frozen=True)
class RegressionMetrics:
    """Metrics of the predicted numbers of N clips, in the unit of the numbers.

    Attributes:
        num_clips: N.
        mae: mean absolute error.
        rmse: root mean square error.
        r2: fraction of the variance of the numbers that the predictions explain. Always predicting the mean gives 0,
            worse predictions a value below 0; ``None`` if all numbers are equal.
        pearson, spearman: correlation of predictions and numbers, and of their ranks; ``None`` if either is constant.
        loss: mean square error.
        median_mae: the error of always predicting the median of these numbers.
        intervals: 95 % bootstrap intervals of ``mae`` and ``rmse``.
        intervals_over: the units that the bootstrap draws.
    """

    num_clips: int
    mae: float
    rmse: float
    r2: float | None
    pearson: float | None
    spearman: float | None
    loss: float
    median_mae: float
    intervals: dict[str, Interval]
    intervals_over: str = "clips"

    @property
    def headline(self) -> Headline:
        """Mean absolute error, with the error of always predicting the median as its baseline."""
        return Headline("mae", "MAE", self.mae, self.median_mae)

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON, ``None`` for undefined metrics."""
        plain = {name: value for name, value in vars(self).items() if name != "intervals"}
        return {**plain, **{f"{name}_interval_95": [of.low, of.high] for name, of in self.intervals.items()}}

    def summary_lines(self) -> list[str]:
        """Return the most important metrics as lines of text."""
        known = {"R2": self.r2, "Pearson": self.pearson, "Spearman": self.spearman}
        more = "".join(f", {name} {value:.4f}" for name, value in known.items() if value is not None)
        of = ", ".join(f"{name.upper()} {one.low:.4g} to {one.high:.4g}" for name, one in self.intervals.items())
        return [
            f"MAE {self.mae:.4g} on {counted(self.num_clips, 'clip')} "
            f"(always predicting the median: {self.median_mae:.4g})",
            f"RMSE {self.rmse:.4g}{more}",
            f"95 % intervals over {self.intervals_over}: {of}",
        ]

    def finding(self) -> str | None:
        """Return a sentence if the error is not clearly lower than the error of always predicting the median."""
        if self.mae == self.median_mae == 0:
            return None  # all numbers and predictions are equal, which says nothing about the model
        return against_baseline(self, self.headline, "the error of always predicting the median", digits=".4g")

    def card_table(self) -> CardTable:
        """Return the metrics for a model card."""
        return CardTable(
            figures={"MAE": self.mae, "MAE of the median": self.median_mae, "RMSE": self.rmse, "R2": self.r2},
            explained="The MAE of the median is the error of always predicting the median of the split.",
            hub={"mae": ("MAE", self.mae), "mse": ("MSE", self.loss)},
        )


def compute_regression(predictions: np.ndarray, numbers: np.ndarray, units: Units | None = None) -> RegressionMetrics:
    """Return all metrics of one split.

    Args:
        predictions: float (N, 1), N >= 1.
        numbers: the true numbers, float (N,).
        units: groups that intervals treat as a whole; ``None`` for single clips.

    Raises:
        DataError, ModelError: see :func:`earmark.tasks.figures.units_to_judge`.
    """
    units = units_to_judge(predictions, len(numbers), units)
    given, wanted = predictions[:, 0].astype(np.float64), numbers.astype(np.float64)
    errors = given - wanted
    square = float((errors**2).mean())
    variance = float(wanted.var())
    varies = variance > 0 and float(given.std()) > 0
    return RegressionMetrics(
        num_clips=len(numbers),
        mae=float(np.abs(errors).mean()),
        rmse=math.sqrt(square),
        r2=1 - square / variance if variance > 0 else None,
        pearson=float(np.corrcoef(given, wanted)[0, 1]) if varies else None,
        spearman=float(scipy.stats.spearmanr(given, wanted).statistic) if varies else None,
        loss=square,
        median_mae=float(np.abs(wanted - np.median(wanted)).mean()),
        intervals=_intervals(np.abs(errors), units),
        intervals_over=units.in_words,
    )


def _intervals(distances: np.ndarray, units: Units) -> dict[str, Interval]:
    """Return bootstrap intervals from clips or groups drawn with replacement (Efron 1979)."""
    mae, rmse = [], []
    for weights in units.draws(REPLICATES):
        totals = weights.sum(axis=1)
        mae.append(weights @ distances / totals)
        rmse.append(np.sqrt(weights @ distances**2 / totals))
    return {"mae": percentile_interval(np.concatenate(mae)), "rmse": percentile_interval(np.concatenate(rmse))}
