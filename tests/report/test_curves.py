"""Numbers behind curves."""

from __future__ import annotations

import numpy as np
import pytest

from earmark.report.learning_curves import learning_curves
from earmark.stats.curves import class_histograms, reliability, score_histograms
from earmark.stats.uncertainty import calibration_error
from earmark.tasks import SINGLE_LABEL


def test_the_calibration_curve_and_the_calibration_error_are_of_one_kind() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([0.3] * 4, 3000)
    targets = np.array([rng.choice(4, p=row**2 / (row**2).sum()) for row in probabilities])
    points = reliability(probabilities, targets)
    gap = sum(point["clips"] * abs(point["probability"] - point["accuracy"]) for point in points) / 3000
    assert gap == pytest.approx(calibration_error(probabilities, targets), abs=2e-4)
    assert all(point["low"] <= point["accuracy"] <= point["high"] for point in points)
    assert sum(point["clips"] for point in points) == 3000


def test_histograms_count_every_clip_once() -> None:
    probabilities = np.array([[0.96, 0.04], [0.52, 0.48], [0.0, 1.0]])
    targets = np.array([0, 1, 1])
    scores = score_histograms(probabilities, targets)
    assert (sum(scores["right"]), sum(scores["wrong"])) == (2, 1)
    assert scores["right"][19] == 2
    assert scores["wrong"][10] == 1
    second = class_histograms(probabilities, targets)[1]
    assert second["own"][19] == second["own"][9] == second["others"][0] == 1


def test_curves_of_training_leave_out_what_is_not_finite_and_keep_the_end() -> None:
    history = [{"epoch": i / 1000, "loss": 1 / (i + 1)} for i in range(1001)]
    history += [
        {"epoch": 1.0, "loss": float("nan")},
        {"epoch": 1.0, "eval_loss": None},
        {"epoch": 0.5, "eval_accuracy": 0.5},
    ]
    (loss,) = learning_curves(history, SINGLE_LABEL)
    assert loss["title"] == "Loss"
    ((name, points),) = [(curve["name"], curve["points"]) for curve in loss["curves"]]
    assert name == "training"
    assert len(points) <= 502
    assert points[-1] == [1.0, pytest.approx(1 / 1001, rel=1e-4)]
