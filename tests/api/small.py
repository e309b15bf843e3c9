"""Settings of a training of seconds, and the parts that a caller passes."""

from __future__ import annotations

from typing import Any

import numpy as np
from transformers import TrainerCallback

SMALL: dict[str, Any] = {
    "config_overrides": {"stem_channels": 8, "channels": [8, 8]},
    "device": "cpu",
    "precision": "fp32",
    "per_device_train_batch_size": 4,
    "num_train_epochs": 2,
    "logging_steps": 1,
    "disable_tqdm": True,
}


class Listening(TrainerCallback):
    """Counts steps and keeps what evaluations report."""

    def __init__(self) -> None:
        self.steps = 0
        self.evaluations: list[dict[str, float]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.steps += 1

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any) -> None:
        self.evaluations.append(metrics)


def mean_logit(logits: np.ndarray) -> float:
    return float(logits.mean())


def slope(y_true: np.ndarray, y_pred: np.ndarray, *, scale: float = 2.0) -> dict[str, float]:
    return {"agreement": float((y_true == y_pred).mean()), "doubled": scale * float((y_true == y_pred).mean())}


def hiss(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return samples + 0.01 * rng.standard_normal(len(samples))
