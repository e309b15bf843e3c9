"""Figures of models that answer a number.

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
    """How near N answers are to the numbers of N clips, in their unit.

    Attributes:
        num_clips: N.
        mae: mean absolute error.
        rmse: root mean square error.
        r2: share of the numbers' variance that the answers explain; 0 is what always predicting their mean gets, below
            0
            is worse; ``None`` where all numbers are the same.
        pearson, spearman: correlation of answers and numbers, and of their ranks; ``None`` where either is constant.
        loss: mean square error.
        median_mae: the error of always predicting the median of these numbers.
        intervals: 95 % intervals of ``mae`` and ``rmse``, by the bootstrap over ``intervals_over``.
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
        """Mean absolute error, beside that of always predicting the median."""
        return Headline("mae", "MAE", self.mae, self.median_mae)

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON; undefined figures are ``None``."""
        plain = {name: value for name, value in vars(self).items() if name != "intervals"}
        return {**plain, **{f"{name}_interval_95": [of.low, of.high] for name, of in self.intervals.items()}}

    def summary_lines(self) -> list[str]:
        """The figures a person looks for first."""
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
        """A sentence if the error is no lower than that of always predicting the median."""
        if self.mae == self.median_mae == 0:
            return None  # every number is the same and was predicted: nothing follows from that
        return against_baseline(self, self.headline, "the error of always predicting the median", digits=".4g")

    def card_table(self) -> CardTable:
        """What a model card shows of a split."""
        return CardTable(
            figures={"MAE": self.mae, "MAE of the median": self.median_mae, "RMSE": self.rmse, "R2": self.r2},
            explained="The MAE of the median is the error of always predicting the median of the split.",
            hub={"mae": ("MAE", self.mae), "mse": ("MSE", self.loss)},
        )


def compute_regression(answers: np.ndarray, numbers: np.ndarray, units: Units | None = None) -> RegressionMetrics:
    """All figures of one split.

    Args:
        answers: float (N, 1), N >= 1.
        numbers: what they should be, float (N,).
        units: what intervals are over; ``None`` for clips.

    Raises:
        DataError, ModelError: see :func:`earmark.tasks.figures.units_to_judge`.
    """
    units = units_to_judge(answers, len(numbers), units)
    given, wanted = answers[:, 0].astype(np.float64), numbers.astype(np.float64)
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
    """By the bootstrap: clips or groups drawn with replacement (Efron 1979)."""
    mae, rmse = [], []
    for weights in units.draws(REPLICATES):
        totals = weights.sum(axis=1)
        mae.append(weights @ distances / totals)
        rmse.append(np.sqrt(weights @ distances**2 / totals))
    return {"mae": percentile_interval(np.concatenate(mae)), "rmse": percentile_interval(np.concatenate(rmse))}
