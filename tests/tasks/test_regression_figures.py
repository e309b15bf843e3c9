"""Metrics of a regression, compared with scikit-learn's."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from earmark.errors import ModelError
from earmark.scoring.diagnosis import diagnose
from earmark.tasks.regression_figures import compute_regression


def made(count: int = 300, noise: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    numbers = rng.normal(50, 10, count).astype(np.float32)
    return (numbers + rng.normal(0, noise, count)).astype(np.float32)[:, None], numbers


def test_figures_are_scikit_learns() -> None:
    answers, numbers = made()
    found = compute_regression(answers, numbers)
    assert found.mae == pytest.approx(mean_absolute_error(numbers, answers[:, 0]), rel=1e-5)
    assert found.rmse == pytest.approx(root_mean_squared_error(numbers, answers[:, 0]), rel=1e-5)
    assert found.r2 == pytest.approx(r2_score(numbers, answers[:, 0]), rel=1e-5)
    assert found.median_mae == pytest.approx(mean_absolute_error(numbers, np.full(300, np.median(numbers))), rel=1e-5)
    assert found.intervals["mae"].low < found.mae < found.intervals["mae"].high
    assert found.headline.higher_is_better is False


@pytest.mark.parametrize("numbers", [[3.0, 3.0, 3.0], [7.0]])
def test_what_is_undefined_is_none(numbers: list[float]) -> None:
    found = compute_regression(np.ones((len(numbers), 1)), np.array(numbers))
    assert (found.r2, found.pearson, found.spearman) == (None, None, None)
    json.dumps(found.to_dict(), allow_nan=False)
    assert all(found.summary_lines())


def test_a_model_that_answers_the_median_is_called_out() -> None:
    _, numbers = made()
    assert (
        "learned little or nothing" in diagnose(compute_regression(np.full((300, 1), np.median(numbers)), numbers))[0]
    )
    assert diagnose(compute_regression(*made())) == []


def test_answers_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ModelError, match="NaN"):
        compute_regression(np.array([[np.nan]]), np.array([1.0]))
