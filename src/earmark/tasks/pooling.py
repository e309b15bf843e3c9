"""From logits to scores, and from the windows of a clip to the clip.

Shapes: K windows, N clips, C classes.
"""

from __future__ import annotations

import numpy as np


def pool(values: np.ndarray, starts: np.ndarray | None = None) -> np.ndarray:
    """Return the mean over the windows of each clip, float64: what a model says of a clip longer than it takes at once.

    Args:
        values: scores or embeddings of windows, float (K, ...), clip after clip.
        starts: the first window of each clip, int64 (N,), increasing from 0; ``None`` if all are of one clip.

    Returns:
        (N, ...), or (...) of one clip.
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
    """Return the logarithm of :func:`pool` of values given by their logarithms, float64, of which none underflows."""
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
    """Return probabilities of logits along the last axis, which add up to 1."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: np.ndarray = shifted / shifted.sum(axis=-1, keepdims=True)
    return probabilities


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return the probability that each logit stands for, by itself."""
    small = np.exp(-np.abs(logits))  # never overflows
    probabilities: np.ndarray = np.where(logits >= 0, 1 / (1 + small), small / (1 + small))
    return probabilities
