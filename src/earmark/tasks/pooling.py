"""Turn logits into scores, and combine the windows of a clip.

Shapes: K windows, N clips, C classes.
"""

from __future__ import annotations

import numpy as np


def pool(values: np.ndarray, starts: np.ndarray | None = None) -> np.ndarray:
    """Return the mean over the windows of each clip, float64: the result for clips longer than the model's limit.

    Args:
        values: scores or embeddings of windows, float (K, ...), clip after clip.
        starts: the first window of each clip, int64 (N,), increasing from 0; ``None`` if all windows belong to one
            clip.

    Returns:
        (N, ...), or (...) for one clip.
    """
    if starts is None:
        mean: np.ndarray = values.mean(axis=0, dtype=np.float64)
        return mean
    if len(starts) == len(values):
        return values.astype(np.float64)
    counts = np.diff([*starts, len(values)]).reshape(-1, *[1] * (values.ndim - 1))
    means: np.ndarray = np.add.reduceat(values, starts, axis=0, dtype=np.float64) / counts
    return means


def log_pool(log_values: np.ndarray, starts: np.ndarray | None = None) -> np.ndarray:
    """Return the logarithm of :func:`pool`, float64, from logarithms of values, without underflow."""
    if starts is None:
        starts = np.zeros(1, np.int64)
        one: np.ndarray = log_pool(log_values, starts)[0]
        return one
    if len(starts) == len(log_values):
        return log_values.astype(np.float64)
    counts = np.diff([*starts, len(log_values)])
    means: np.ndarray = np.logaddexp.reduceat(log_values, starts, axis=0) - np.log(counts)[:, None]
    return means


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return the logarithms of :func:`softmax`, float64."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    logs: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return logs


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities that add up to 1 along the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: np.ndarray = shifted / shifted.sum(axis=-1, keepdims=True)
    return probabilities


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return the probability of each logit independently of the others."""
    small = np.exp(-np.abs(logits))  # never overflows
    probabilities: np.ndarray = np.where(logits >= 0, 1 / (1 + small), small / (1 + small))
    return probabilities
