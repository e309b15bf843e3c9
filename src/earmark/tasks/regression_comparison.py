"""Compare regression models on the same clips.

Shapes: N clips, K models.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata, wilcoxon

from earmark.stats.paired import Compared, Paired, estimate, sign_flip
from earmark.stats.uncertainty import REPLICATES, Units


def compare_numbers(numbers: np.ndarray, predictions: Sequence[np.ndarray], units: Units | None = None) -> Compared:
    """Compare regression models with the first one.

    Wilcoxon's signed-rank test (1945) compares the absolute errors, or :func:`earmark.stats.paired.sign_flip` if units
    are groups. A paired bootstrap gives intervals of mean absolute error and root mean square error.

    Args:
        numbers: the true numbers, float (N,).
        predictions: predictions of each model, float (N,).
        units: groups to draw and test as a whole; ``None`` for single clips.
    """
    errors = np.abs(np.stack(predictions) - numbers)  # (K, N)
    units = units or Units(len(numbers))
    drawn = [_errors(times / times.sum(axis=1, keepdims=True), errors) for times in units.draws(REPLICATES)]
    of_draws = {name: np.concatenate([one[name] for one in drawn]) for name in drawn[0]}  # (R, K)
    here = _errors(np.full((1, len(numbers)), 1 / len(numbers)), errors)  # (1, K)
    figures = [
        {name: estimate(of[0, k], of_draws[name][:, k]) for name, of in here.items()} for k in range(len(errors))
    ]
    pairs = []
    for k in range(1, len(errors)):
        gap = error_gaps(numbers, predictions[0], predictions[k])
        leaning, p = _errors_test(gap, units)
        differences = {
            name: estimate(of[0, k] - of[0, 0], of_draws[name][:, k] - of_draws[name][:, 0])
            for name, of in here.items()
        }
        pairs.append(Paired(int((gap > 0).sum()), int((gap < 0).sum()), leaning < 0, p, differences))
    return Compared(figures, pairs, [{} for _ in predictions])


def _errors_test(gap: np.ndarray, units: Units) -> tuple[float, float]:
    """Return the test statistic, below 0 if the second model is better, and the p-value."""
    if units.are_groups:
        return float(gap.sum()), sign_flip(gap, units)
    leaning = float(np.sign(gap[gap != 0]) @ rankdata(np.abs(gap[gap != 0])))
    return leaning, float(wilcoxon(gap).pvalue) if gap.any() else 1.0


def error_gaps(numbers: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the absolute errors of the second model minus the absolute errors of the first, float (N,).

    Differences as small as rounding errors become 0.

    Args:
        numbers: the true numbers, float (N,).
        first, second: predictions of the two models, float (N,).
    """
    errors = np.abs(np.stack([first, second]) - numbers)
    gap: np.ndarray = errors[1] - errors[0]
    gap[np.abs(gap) <= 1e-9 * errors.max()] = 0
    return gap


def _errors(weights: np.ndarray, sizes: np.ndarray) -> dict[str, np.ndarray]:
    """Return mean absolute and root mean square error, (R, K), for weights (R, N) and absolute errors (K, N)."""
    return {"mae": weights @ sizes.T, "rmse": np.sqrt(weights @ (sizes**2).T)}
