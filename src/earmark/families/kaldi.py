"""Compute Kaldi's filter banks, the input of AST and Wav2Vec2-BERT.

Shapes: B batch, T samples, F frames, W samples per frame, M mel bins.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from earmark.families.features import Features
from earmark.families.mel_filters import MelScale, mel_filters
from earmark.families.spectra import Product, fourier_basis, overlapping_frames, power, to_float32

# Constants in the code of both models' feature extractors, which are not in their settings.
FRAME, _HOP, _N_FFT = 400, 160, 512
_LOWEST_HZ = 20
_EMPHASIS = 0.97
_FLOOR = 1.192092955078125e-07
_FLOAT32_BITS = 24
_COARSE_BITS = 9  # bits of a coarse sample below the peak of its clip; the basis gets the rest of float32's 24 bits


class KaldiFeatures(Features):
    """Log filter banks: frames of 400 samples every 160, mean removed, pre-emphasis, natural log.

    Kaldi has no floor relative to the peak, so rounding errors of a loud band must not hide a quiet one. Pre-emphasis
    and the removal of the mean are linear, so they are part of the basis. The product with the basis has three parts
    (after Ozaki et al. 2012, "Error-free transformations of matrix multiplication"): samples and basis are each split
    into a coarse part, short enough that float32 sums coarse times coarse without rounding, and a rest, whose products
    and errors are small. A single product or an FFT in float32 is wrong by up to a few per cent of a bin's standard
    deviation if a band is 100 dB below the loudest one.

    Args:
        rate_hz: sampling rate.
        num_mels: M.
        window: float64 (W,).
        scale: factor of the samples; Kaldi takes 16-bit integers.
    """

    coarse_basis: torch.Tensor
    rest_basis: torch.Tensor
    basis: torch.Tensor
    filters: torch.Tensor

    def __init__(self, rate_hz: int, num_mels: int, window: np.ndarray, scale: float = 1.0) -> None:
        super().__init__()
        basis = scale * _kaldi_basis(window)
        coarse = _coarse_basis(basis)
        filters = mel_filters(
            MelScale.KALDI,
            num_bins=_N_FFT // 2 + 1,
            num_mels=num_mels,
            lowest_hz=_LOWEST_HZ,
            highest_hz=rate_hz // 2,
            rate_hz=rate_hz,
        )
        for name, values in (("coarse_basis", coarse), ("rest_basis", basis - coarse), ("basis", basis)):
            self.register_buffer(name, to_float32(values), persistent=False)  # (W, 2 * bins)
        self.register_buffer("filters", to_float32(filters), persistent=False)
        self.by_coarse, self.by_rest, self.by_basis, self.to_mel = (Product() for _ in range(4))

    def log_mel(self, samples: torch.Tensor) -> torch.Tensor:
        """Return (B, F, M) of samples (B, T)."""
        if samples.shape[1] < FRAME:
            samples = F.pad(samples, (0, FRAME - samples.shape[1]))
        # Adding a number 2**15 times the peak leaves room in float32 for only the highest 9 bits of a sample.
        large = samples.abs().amax(dim=1, keepdim=True) * 2.0 ** (_FLOAT32_BITS - _COARSE_BITS)
        coarse = (samples + large) - large
        frames, rest = (overlapping_frames(part, FRAME, _HOP) for part in (coarse, samples - coarse))  # (B, F, W)
        small = self.by_rest(frames, self.rest_basis) + self.by_basis(rest, self.basis)
        spectrum = self.by_coarse(frames, self.coarse_basis) + small  # (B, F, 2 * bins)
        return self.to_mel(power(spectrum), self.filters).clamp(min=_FLOOR).log()

    @staticmethod
    def whole_frames(num_samples: torch.Tensor) -> torch.Tensor:
        """Return the number of whole frames in ``num_samples``, int64 (B,)."""
        return ((num_samples - FRAME) // _HOP + 1).clamp(min=0)


def _kaldi_basis(window: np.ndarray) -> np.ndarray:
    """Return removal of the mean, pre-emphasis and Fourier transform as one matrix, float64 (W, 2 * bins)."""
    emphasised = np.eye(len(window)) - _EMPHASIS * np.eye(len(window), k=-1)  # x[t] - 0.97 x[t - 1]
    emphasised[0, 0] -= _EMPHASIS
    basis = emphasised.T @ fourier_basis(window, _N_FFT)
    return basis - basis.mean(axis=0)


def _coarse_basis(basis: np.ndarray) -> np.ndarray:
    """Round each column (bin) so that its product with coarse samples is exact in float32."""
    largest_sum = np.abs(basis).sum(axis=0) * 2.0**_COARSE_BITS  # in units of the coarse samples
    step = 2.0 ** np.ceil(np.log2(np.maximum(largest_sum, 1e-30)) - _FLOAT32_BITS)  # the sine of bin 0 is all zero
    return np.round(basis / step) * step
