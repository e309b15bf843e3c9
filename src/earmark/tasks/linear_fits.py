"""Linear maps from embeddings to logits, one fit for each task, with a penalty chosen by cross-validation.

Shapes: N clips, D width of an embedding, C classes or labels; C is 1 for a number.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import StratifiedKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from earmark.tasks.multi_label_figures import compute_multi_label
from earmark.tasks.pooling import sigmoid
from earmark.text import and_more

logger = logging.getLogger(__name__)

_STRENGTHS = tuple(10.0**power for power in (-4, -3, -2, -1, 0, 1))  # scikit-learn's C, the inverse of the penalty
_WITHOUT_FOLDS = 0.1  # strength if there are too few clips for folds
_FOLDS = 5
_MOST_TRIED = 5000  # maximum number of clips on which the penalty is chosen
_ITERATIONS = 2000
_GRADIENT = 1e-5  # the fit of a label stops when no partial derivative of its loss is larger

# maps standardised embeddings (N, D), targets and the strength to weights (C, D) and bias (C,)
_Solve = Callable[[np.ndarray, np.ndarray, float], tuple[np.ndarray, np.ndarray]]
# maps logits (N, C) and targets to the loss that is minimised and the metric that is reported
_Judge = Callable[[np.ndarray, np.ndarray], tuple[float, float]]


@dataclass(frozen=True)
class FittedHead:
    """The result of fitting a head.

    Attributes:
        clips: number of clips it was fitted on.
        penalty_c: scikit-learn's C, the inverse of the penalty.
        cross_validated: value of ``metric``, cross-validated on these clips. It is slightly optimistic, because the
            penalty was chosen on the same folds. ``None`` if there are too few clips for folds.
        method: name of the method, for messages.
        metric: key of the metric in ``metrics.json``.
        title: name of the metric, for messages.
        precision: number format in which the embeddings were computed: ``fp32``, ``bf16`` or ``fp16``.
    """

    clips: int
    penalty_c: float
    cross_validated: float | None
    method: str = "logistic regression"
    metric: str = "accuracy"
    title: str = "accuracy"
    precision: str = "fp32"

    def to_dict(self) -> dict[str, float | str | None]:
        """Return the values for ``metrics.json``."""
        metric = {f"cross_validated_{self.metric}": self.cross_validated}
        return {"clips": self.clips, "penalty_c": self.penalty_c, "precision": self.precision, **metric}


def fit_classes(
    embeddings: np.ndarray, targets: np.ndarray, *, balanced: bool = False, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, FittedHead]:
    """Fit a multinomial logistic regression on standardised embeddings.

    Args:
        embeddings: float64 (N, D).
        targets: int (N,), every class from 0 to C - 1 at least once.
        balanced: whether every class has the same total weight, however many clips it has.
        seed: seed of the folds that choose the penalty.

    Returns:
        ``(weights, bias, fitted)``: float64 (C, D) and (C,), for embeddings that are not standardised.
    """
    strength, accuracy = _choose_strength(embeddings, targets, balanced, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = _regression(strength, balanced).fit(embeddings, targets)
    scaler, regression = fitted[0], fitted[1]
    weights, bias = regression.coef_, regression.intercept_
    if len(weights) == 1:  # for two classes scikit-learn returns the log-odds of the second class
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    weights = weights / scaler.scale_
    return weights, bias - weights @ scaler.mean_, FittedHead(len(targets), strength, accuracy)


def _regression(strength: float, balanced: bool) -> Any:
    kind = "balanced" if balanced else None
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, class_weight=kind, max_iter=_ITERATIONS))


def _choose_strength(
    embeddings: np.ndarray, targets: np.ndarray, balanced: bool, seed: int
) -> tuple[float, float | None]:
    """Return the strength with the best cross-validated likelihood, and its accuracy."""
    if len(targets) > _MOST_TRIED:
        chosen = np.random.default_rng(seed).permutation(len(targets))[:_MOST_TRIED]
        if np.bincount(targets[chosen], minlength=targets.max() + 1).min() >= 2:
            embeddings, targets = embeddings[chosen], targets[chosen]
    fewest = int(np.bincount(targets).min())
    if fewest < 2:
        return _WITHOUT_FOLDS, None
    folds = StratifiedKFold(min(_FOLDS, fewest), shuffle=True, random_state=seed)
    results = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for one in _STRENGTHS:
            tried = cross_validate(
                _regression(one, balanced), embeddings, targets, cv=folds, scoring=("neg_log_loss", "accuracy")
            )
            results[one] = tried["test_neg_log_loss"].mean(), float(tried["test_accuracy"].mean())
    best = max(_STRENGTHS, key=lambda one: results[one][0])
    return best, results[best][1]


def fit_labels(
    embeddings: np.ndarray, targets: np.ndarray, folds: Sequence[str], *, positive_weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, FittedHead]:
    """Fit one logistic regression for each label on standardised embeddings, all with the same penalty.

    The penalty is the one with the lowest cross-validated cross-entropy, over the labels that at least two clips have
    and at least two do not have. A label that no clip or every clip has gets the same probability for any clip: by
    Laplace's rule of succession ``(n + 1) / (N + 2)``, where ``n`` is the number of clips with the label.

    Args:
        embeddings: float64 (N, D).
        targets: which labels each clip has, 0 or 1, (N, C).
        folds: the fold of each clip, N of them.
        positive_weights: weight of a clip with the label relative to a clip without it, (C,); ``None`` for 1.

    Returns:
        ``(weights, bias, fitted)``: float64 (C, D) and (C,), for embeddings that are not standardised.
    """
    there = (targets > 0.5).astype(np.float64)
    ratio = np.ones(there.shape[1]) if positive_weights is None else positive_weights

    def solve(rows: np.ndarray, there: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
        return _solve_labels(rows, there, strength, ratio)

    support = there.sum(axis=0)
    judged = (support >= 2) & (len(there) - support >= 2)
    names = [str(i) for i in np.flatnonzero(judged)]

    def judge(logits: np.ndarray, there: np.ndarray) -> tuple[float, float]:
        metrics = compute_multi_label(logits[:, judged], there[:, judged], names, intervals=False)
        return metrics.loss, metrics.mean_average_precision

    strength, metric = _across_folds(solve, judge, embeddings, there, folds) if names else (_WITHOUT_FOLDS, None)
    fitted = FittedHead(
        len(there), strength, metric, "a logistic regression for each label", "mean_average_precision", "mAP"
    )
    return *_solve_raw(solve, embeddings, there, strength), fitted


def warn_of_labels_everywhere(targets: np.ndarray, labels: Sequence[str]) -> None:
    """Warn about labels that every clip has, from targets (N, C)."""
    everywhere = [repr(labels[i]) for i in np.flatnonzero(np.all(targets, axis=0)).tolist()]
    if everywhere:
        logger.warning(
            "few shot: every training clip has %s, so its probability is %.3f for any clip. Add clips without it.",
            and_more(everywhere, 3, " and "),
            (len(targets) + 1) / (len(targets) + 2),
        )


def fit_number(
    embeddings: np.ndarray, numbers: np.ndarray, folds: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, FittedHead]:
    """Fit a ridge regression on standardised embeddings.

    The penalty is the one with the lowest cross-validated mean squared error.

    Args:
        embeddings: float64 (N, D).
        numbers: float (N,).
        folds: the fold of each clip, N of them.

    Returns:
        ``(weights, bias, fitted)``: float64 (1, D) and (1,), for embeddings that are not standardised.
    """

    def judge(logits: np.ndarray, numbers: np.ndarray) -> tuple[float, float]:
        errors = logits - numbers
        return float((errors**2).mean()), float(np.abs(errors).mean())

    column = numbers.astype(np.float64)[:, None]
    strength, metric = _across_folds(_solve_number, judge, embeddings, column, folds)
    fitted = FittedHead(len(column), strength, metric, "ridge regression", "mae", "MAE")
    return *_solve_raw(_solve_number, embeddings, column, strength), fitted


def _across_folds(
    solve: _Solve, judge: _Judge, embeddings: np.ndarray, targets: np.ndarray, folds: Sequence[str]
) -> tuple[float, float | None]:
    """Return the strength with the lowest cross-validated loss, and the metric at that strength."""
    tried_on = np.random.default_rng(0).permutation(len(targets))[:_MOST_TRIED]
    embeddings, targets, fold = embeddings[tried_on], targets[tried_on], np.asarray(folds)[tried_on]
    names = np.unique(fold)
    if len(names) < 2:
        return _WITHOUT_FOLDS, None
    results = {}
    for strength in _STRENGTHS:
        logits = np.empty(targets.shape)
        for name in names:
            held = fold == name
            weights, bias = _solve_raw(solve, embeddings[~held], targets[~held], strength)
            logits[held] = embeddings[held] @ weights.T + bias
        results[strength] = judge(logits, targets)
    best = min(_STRENGTHS, key=lambda strength: results[strength][0])
    return best, results[best][1]


def _solve_raw(
    solve: _Solve, embeddings: np.ndarray, targets: np.ndarray, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Solve on standardised embeddings; return weights and bias for embeddings that are not standardised."""
    scaler = StandardScaler().fit(embeddings)
    weights, bias = solve(scaler.transform(embeddings), targets, strength)
    weights = weights / scaler.scale_
    return weights, bias - weights @ scaler.mean_


def _solve_number(rows: np.ndarray, numbers: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    solved = Ridge(alpha=1 / strength).fit(rows, numbers[:, 0])
    return solved.coef_[None], np.array([solved.intercept_])


def _solve_labels(
    rows: np.ndarray, there: np.ndarray, strength: float, ratio: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Solve all labels at once with matrix products: one call for each label would take minutes for 200 labels."""
    support, (count, width) = there.sum(axis=0), rows.shape
    weights, bias = np.zeros((there.shape[1], width)), np.log((support + 1) / (count - support + 1))
    varies = (support > 0) & (support < count)
    if not varies.any():
        return weights, bias
    there = there[:, varies]
    clip_weights = np.where(there > 0, ratio[varies], 1.0)
    clip_weights *= count / clip_weights.sum(axis=0)  # so that the ratio does not change the strength of the penalty
    penalty = 1 / (strength * count)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        maps = flat.reshape(-1, width + 1)
        slopes, offsets = maps[:, :-1], maps[:, -1]
        logits = rows @ slopes.T + offsets
        terms = clip_weights * (np.logaddexp(0, logits) - there * logits)
        errors = clip_weights * (sigmoid(logits) - there) / count
        gradient = np.hstack([errors.T @ rows + penalty * slopes, errors.sum(axis=0)[:, None]])
        return float(terms.sum() / count + penalty / 2 * (slopes**2).sum()), gradient.ravel()

    start = np.hstack([weights[varies], bias[varies][:, None]]).ravel()
    options = {"maxiter": _ITERATIONS, "gtol": _GRADIENT, "ftol": 64 * np.finfo(float).eps}
    maps = minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x.reshape(-1, width + 1)
    weights[varies], bias[varies] = maps[:, :-1], maps[:, -1]
    return weights, bias
