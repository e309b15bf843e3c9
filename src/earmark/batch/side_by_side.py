"""Put clips of several lengths into one array."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def side_by_side(waveforms: Sequence[np.ndarray], min_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Return B clips of shape ``(samples,)`` as (B, T) float32 with zeros after each, and their lengths, int64 (B,).

    Clips shorter than ``min_samples`` have the length ``min_samples``.
    """
    lengths = np.array([max(len(waveform), min_samples) for waveform in waveforms], dtype=np.int64)
    samples = np.zeros((len(waveforms), lengths.max()), dtype=np.float32)
    for row, waveform in zip(samples, waveforms, strict=True):
        row[: len(waveform)] = waveform
    return samples, lengths
