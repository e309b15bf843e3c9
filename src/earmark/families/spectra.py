"""Compute spectra from overlapping frames, windows, and Fourier transforms as matrix products.

Products with a Fourier basis need neither complex numbers nor float64, which some accelerators lack, nor an FFT, which
cannot be exported.

Shapes: B batch, T samples, F frames, W samples per frame.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


class Product(nn.Module):
    """``rows @ matrix`` as a module, so that :mod:`earmark.models.packed` can replace it."""

    def forward(self, rows: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        """Return (..., R, N) of rows (..., R, K) and matrix (K, N)."""
        return rows @ matrix


def overlapping_frames(samples: torch.Tensor, window: int, hop: int) -> torch.Tensor:
    """Return whole frames (B, F, W) of samples (B, T), ``hop`` apart: a view normally, a gather in an export."""
    if not torch.compiler.is_compiling():
        return samples.unfold(-1, window, hop)
    # torch.export cannot trace `unfold`, because T decides whether its overlapping rows are contiguous, and in ONNX
    # `unfold` is a loop. Indexing becomes one gather.
    count = (samples.shape[-1] - window) // hop + 1
    starts = torch.arange(count, device=samples.device)[:, None] * hop
    return samples[:, starts + torch.arange(window, device=samples.device)]


def hann(length: int, *, periodic: bool) -> np.ndarray:
    """Return a Hann window, float64 (W,): ``0.5 - 0.5 cos(2 pi t / P)``, where P is W if periodic, else W - 1."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / (length if periodic else length - 1))


def povey(length: int) -> np.ndarray:
    """Return Kaldi's Povey window, a symmetric Hann window to the power of 0.85 (``feat/feature-window.cc``)."""
    return hann(length, periodic=False) ** 0.85


def fourier_basis(window: np.ndarray, n_fft: int) -> np.ndarray:
    """Return windowed cosines followed by sines, float64 (W, 2 * bins)."""
    turns = np.arange(len(window))[:, None] * np.arange(n_fft // 2 + 1)[None] % n_fft
    angle = 2 * np.pi * turns / n_fft
    return np.concatenate([np.cos(angle), -np.sin(angle)], axis=1) * window[:, None]


def power(spectrum: torch.Tensor) -> torch.Tensor:
    """Return the power (B, F, bins) of a spectrum of real parts followed by imaginary parts (B, F, 2 * bins)."""
    real, imaginary = spectrum.chunk(2, dim=-1)
    return real.square() + imaginary.square()


def to_float32(values: np.ndarray) -> torch.Tensor:
    """Return a constant of a frontend in float32."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
