"""Temperature scaling: divide logits by one number, so that 90 % of the predictions with probability 0.9 are right.

Shapes: N clips, K windows of them, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy

from earmark.tasks import SINGLE_LABEL, Task, pool

COLDEST, HOTTEST = 0.05, 20.0


@dataclass(frozen=True)
class WindowLogits:
    """Uncalibrated logits of the windows of clips. The score of a clip is the mean score of its windows.

    Attributes:
        logits: float32 (K, C), clip after clip.
        starts: the first window of each clip, int64 (N,), increasing.
        task: the task of the model: one class, or several labels.
    """

    logits: np.ndarray
    starts: np.ndarray
    task: Task = SINGLE_LABEL

    @property
    def num_clips(self) -> int:
        """Number of clips, N."""
        return len(self.starts)

    def probabilities(self, temperature: float = 1.0) -> np.ndarray:
        """Return the probabilities of each clip at a temperature, float64 (N, C)."""
        return pool(self.task.scores(self.logits.astype(np.float64) / temperature), self.starts)

    def clips_logits(self, temperature: float = 1.0) -> np.ndarray:
        """Return the logits of each clip that a scorer gives at a temperature, float32 (N, C)."""
        return self.task.pooled(self.logits / np.float32(temperature), self.starts)

    def of(self, clips: np.ndarray) -> WindowLogits:
        """Return the logits of the selected clips, given by their indices, int64 (M,)."""
        ends = np.append(self.starts[1:], len(self.logits))
        windows = [np.arange(self.starts[i], ends[i]) for i in clips]
        counts = np.array([len(one) for one in windows])
        return WindowLogits(self.logits[np.concatenate(windows)], np.cumsum(counts) - counts, self.task)


def best_temperature(loss: Callable[[float], float]) -> float:
    """Return the temperature from 0.05 to 20 with the lowest loss."""
    bounds = (np.log(COLDEST), np.log(HOTTEST))
    found = scipy.optimize.minimize_scalar(
        lambda log: loss(float(np.exp(log))), bounds=bounds, method="bounded", options={"xatol": 1e-4}
    )
    return float(np.exp(found.x))


def assumed_error(windows: WindowLogits, targets: np.ndarray) -> float:
    """Return the fraction of errors to assume if every prediction is right; 0 if some are wrong.

    Without an error the best temperature would be 0, with probabilities of 1. Laplace's rule of succession assumes one
    error in N + 2 clips instead.
    """
    return 1 / (len(targets) + 2) if windows.task.right(windows.clips_logits(), targets).all() else 0.0
