"""Whether one model of several labels, or of numbers, is better than another on the same clips.

Shapes: N clips, C labels, K models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import rankdata, wilcoxon

from earmark.scoring.multi_label import bootstrap, figures_of_labels, means_of_labels
from earmark.scoring.paired import Compared, Estimate, Paired, hits_test, sign_flip
from earmark.scoring.uncertainty import REPLICATES, Units, percentile_interval, share_interval


def compare_labels(
    there: np.ndarray, models: Sequence[tuple[np.ndarray, np.ndarray]], units: Units | None = None
) -> Compared:
    """Hold models of several labels against the first of them.

    A test of the clips whose labels one alone has all right (:func:`earmark.scoring.paired.hits_test`), and a paired
    bootstrap of mean average precision and mean F1, and of these figures of each label: clips, or whole groups, are
    drawn anew with replacement, the same ones for all.

    Args:
        there: which labels are there, bool (N, C).
        models: of each the probabilities float (N, C) and the answers bool (N, C).
        units: what is drawn and tested; ``None`` for clips, which are then taken as independent.
    """
    units = units or Units(len(there))
    drawn = bootstrap(models, there, units)
    of_labels = [figures_of_labels(*model, there) for model in models]
    means, drawn_means = [means_of_labels(of) for of in of_labels], [means_of_labels(of) for of in drawn]
    right = [(answered == there).all(axis=1) for _, answered in models]
    figures, pairs = [], []
    for k, hits in enumerate(right):
        of_run = {name: _estimate(of, drawn_means[k].get(name)) for name, of in means[k].items()}
        figures.append({**of_run, "exact_match": Estimate(float(hits.mean()), share_interval(hits, units))})
        if not k:
            continue
        only_first, only_second, p = hits_test(right[0], hits, units)
        differences = {
            name: _estimate(of - means[0][name], _less(drawn_means[k], drawn_means[0], name))
            for name, of in means[k].items()
        }
        each = {
            name: _of_each(of - of_labels[0][name], _less(drawn[k], drawn[0], name))
            for name, of in of_labels[k].items()
        }
        pairs.append(Paired(only_first, only_second, only_second > only_first, p, differences, each))
    return Compared(figures, pairs, list(of_labels))


def _less(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray], name: str) -> np.ndarray | None:
    return one[name] - other[name] if name in one else None


def _estimate(value: np.ndarray | float, drawn: np.ndarray | None) -> Estimate:
    return Estimate(float(value), None if drawn is None else percentile_interval(drawn))


def _of_each(values: np.ndarray, drawn: np.ndarray | None) -> list[Estimate | None]:
    """Of values (C,) and draws of them (R, C), in which a label may be missing now and then."""
    return [
        None if np.isnan(value) else _estimate(value, None if drawn is None else drawn[~np.isnan(drawn[:, i]), i])
        for i, value in enumerate(values)
    ]


def compare_numbers(numbers: np.ndarray, answers: Sequence[np.ndarray], units: Units | None = None) -> Compared:
    """Hold models of numbers against the first of them.

    Wilcoxon 1945 of the differences of the absolute errors, over groups :func:`earmark.scoring.paired.sign_flip` of
    them; and a paired bootstrap of mean absolute error and root mean square error.

    Args:
        numbers: what the answers should be, float (N,).
        answers: of each model, float (N,).
        units: what is drawn and tested; ``None`` for clips, which are then taken as independent.
    """
    errors = np.abs(np.stack(answers) - numbers)  # (K, N)
    units = units or Units(len(numbers))
    drawn = [_errors(times / times.sum(axis=1, keepdims=True), errors) for times in units.draws(REPLICATES)]
    of_draws = {name: np.concatenate([one[name] for one in drawn]) for name in drawn[0]}  # (R, K)
    here = _errors(np.full((1, len(numbers)), 1 / len(numbers)), errors)  # (1, K)
    figures = [
        {name: _estimate(of[0, k], of_draws[name][:, k]) for name, of in here.items()} for k in range(len(errors))
    ]
    pairs = []
    for k in range(1, len(errors)):
        gap = error_gaps(numbers, answers[0], answers[k])
        leaning, p = _errors_test(gap, units)
        differences = {
            name: _estimate(of[0, k] - of[0, 0], of_draws[name][:, k] - of_draws[name][:, 0])
            for name, of in here.items()
        }
        pairs.append(Paired(int((gap > 0).sum()), int((gap < 0).sum()), leaning < 0, p, differences))
    return Compared(figures, pairs, [{} for _ in answers])


def _errors_test(gap: np.ndarray, units: Units) -> tuple[float, float]:
    """Below 0 where the second model is better by what the test looks at, and p."""
    if units.are_groups:
        return float(gap.sum()), sign_flip(gap, units)
    leaning = float(np.sign(gap[gap != 0]) @ rankdata(np.abs(gap[gap != 0])))
    return leaning, float(wilcoxon(gap).pvalue) if gap.any() else 1.0


def error_gaps(numbers: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How much larger the second model's absolute errors are than the first's, float (N,); 0 but for rounding is 0.

    Args:
        numbers: what the answers should be, float (N,).
        first, second: answers of each, float (N,).
    """
    errors = np.abs(np.stack([first, second]) - numbers)
    gap: np.ndarray = errors[1] - errors[0]
    gap[np.abs(gap) <= 1e-9 * errors.max()] = 0
    return gap


def _errors(weights: np.ndarray, sizes: np.ndarray) -> dict[str, np.ndarray]:
    """Mean absolute error and root mean square error of absolute errors (K, N), each (R, K), by weights (R, N)."""
    return {"mae": weights @ sizes.T, "rmse": np.sqrt(weights @ (sizes**2).T)}
