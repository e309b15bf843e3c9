"""Temperature scaling: one number that logits are divided by, so that probabilities are right as often as they say.

Shapes: N clips, K windows of them, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy

from earmark.tasks import Task, pool

COLDEST, HOTTEST = 0.05, 20.0


@dataclass(frozen=True)
class WindowLogits:
    """The model's own logits of clips, window by window: the mean of windows' probabilities is a clip's.

    Attributes:
        logits: float32 (K, C), clip after clip.
        starts: the first window of each clip, int64 (N,), increasing.
        task: what the model is asked: one class, or which labels are there.
    """

    logits: np.ndarray
    starts: np.ndarray
    task: Task = Task.SINGLE_LABEL

    @property
    def num_clips(self) -> int:
        """N."""
        return len(self.starts)

    def probabilities(self, temperature: float = 1.0) -> np.ndarray:
        """Of each clip at a temperature, float64 (N, C)."""
        return pool(self.task.scores(self.logits.astype(np.float64) / temperature), self.starts)

    def log_probabilities(self, temperature: float = 1.0) -> np.ndarray:
        """The logarithms of single labels' probabilities at a temperature, float64 (N, C)."""
        scaled = self.logits.astype(np.float64) / temperature
        scaled -= scaled.max(axis=1, keepdims=True)
        log_p = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
        if self.num_clips == len(log_p):
            return log_p
        counts = np.diff([*self.starts, len(log_p)])
        mean: np.ndarray = np.logaddexp.reduceat(log_p, self.starts, axis=0) - np.log(counts)[:, None]
        return mean

    def clips_logits(self, temperature: float = 1.0) -> np.ndarray:
        """Logits of each clip as a scorer at that temperature gives them, float32 (N, C)."""
        if self.num_clips == len(self.logits):
            return (self.logits / np.float32(temperature)).astype(np.float32)
        if self.task is Task.SINGLE_LABEL:
            return self.log_probabilities(temperature).astype(np.float32)
        return self.task.logits(self.probabilities(temperature))

    def of(self, clips: np.ndarray) -> WindowLogits:
        """Those of some clips, int64 (M,)."""
        ends = np.append(self.starts[1:], len(self.logits))
        windows = [np.arange(self.starts[i], ends[i]) for i in clips]
        counts = np.array([len(one) for one in windows])
        return WindowLogits(self.logits[np.concatenate(windows)], np.cumsum(counts) - counts, self.task)


def fit_temperature(windows: WindowLogits, targets: np.ndarray) -> float:
    """The temperature at which the negative log-likelihood of the targets is least (Guo et al. 2017, section 4.2).

    Where every clip is right, the least would be at 0, at probabilities of 1. One error in N + 2 clips is assumed then,
    as Laplace's rule of succession has it, spread over the other classes.

    Args:
        windows: the model's own logits.
        targets: class of each clip, int64 (N,); or which labels are there, float (N, C).

    Returns:
        From 0.05 to 20.
    """
    total, num_classes = len(targets), windows.logits.shape[1]
    if windows.task is Task.MULTI_LABEL:
        wrong = 1 / (total + 2) if all_right(windows, targets) else 0.0
        likely = targets * (1 - wrong) + (1 - targets) * wrong
        return _best_temperature(lambda at: binary_loss(windows.probabilities(at), likely))
    if num_classes == 1:
        return 1.0
    wrong = 1 / (total + 2) if all_right(windows, targets) else 0.0
    shares = np.full((total, num_classes), wrong / (num_classes - 1))
    shares[np.arange(total), targets] = 1 - wrong

    return _best_temperature(lambda at: -float((shares * windows.log_probabilities(at)).sum()) / total)


def _best_temperature(loss: Callable[[float], float]) -> float:
    bounds = (np.log(COLDEST), np.log(HOTTEST))
    found = scipy.optimize.minimize_scalar(
        lambda log: loss(float(np.exp(log))), bounds=bounds, method="bounded", options={"xatol": 1e-4}
    )
    return float(np.exp(found.x))


def binary_loss(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Mean binary cross-entropy in nats of probabilities (N, C) that labels are there, against whether they are."""
    inside = np.clip(probabilities.astype(np.float64), np.finfo(np.float64).tiny, 1 - np.finfo(np.float64).epsneg)
    return -float((targets * np.log(inside) + (1 - targets) * np.log1p(-inside)).mean())


def all_right(windows: WindowLogits, targets: np.ndarray) -> bool:
    """Whether the most likely class of every clip is the right one, or all of its labels are at one half."""
    if windows.task is Task.MULTI_LABEL:
        return bool(((windows.probabilities() >= 0.5) == (targets > 0.5)).all())
    return bool((windows.log_probabilities().argmax(axis=1) == targets).all())
