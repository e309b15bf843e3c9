"""Kaldi's filter banks, which AST and Wav2Vec2-BERT take.

Shapes: B batch, T samples, F frames, W samples of a frame, M mel bins.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from earmark.families.features import Features
from earmark.families.mel_filters import MelScale, mel_filters
from earmark.families.spectra import Product, fourier_basis, overlapping_frames, power, to_float32

# Both models' extractors have these in their code, not among their settings.
FRAME, _HOP, _N_FFT = 400, 160, 512
_LOWEST_HZ = 20
_EMPHASIS = 0.97
_FLOOR = 1.192092955078125e-07
_FLOAT32_BITS = 24
_COARSE_BITS = 9  # of a sample, below the peak of its clip; the basis has the rest of the 24 bits


class KaldiFeatures(Features):
    """Log filter banks: frames of 400 samples every 160 within the clip, mean removed, pre-emphasis, natural log.

    There is no floor near the peak, so a quiet band must not drown in the rounding of a loud one beside it. Removing
    the mean and pre-emphasis are linear, hence part of the basis, and the product with it is taken in three parts
    (after Ozaki et al. 2012, "Error-free transformations of matrix multiplication"): samples and basis are each cut
    into a coarse part, so short that float32 adds up coarse times coarse without rounding, and a rest, whose products
    are small and so are their errors. One product, or an FFT, in float32 is wrong by up to a few per cent of a bin's
    standard deviation where a band is 100 dB below the loudest one.

    Args:
        rate_hz: sampling rate.
        num_mels: M.
        window: float64 (W,).
        scale: what samples are multiplied by; Kaldi takes 16-bit integers.
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
        # beside a number 2**15 times the peak, float32 has room for the highest 9 bits of a sample
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
    """The Fourier basis behind pre-emphasis behind removal of the mean, float64 (W, 2 * bins)."""
    emphasised = np.eye(len(window)) - _EMPHASIS * np.eye(len(window), k=-1)  # x[t] - 0.97 x[t - 1]
    emphasised[0, 0] -= _EMPHASIS
    basis = emphasised.T @ fourier_basis(window, _N_FFT)
    return basis - basis.mean(axis=0)


def _coarse_basis(basis: np.ndarray) -> np.ndarray:
    """Each column (bin) rounded so far that its product with coarse samples is exact in float32."""
    largest_sum = np.abs(basis).sum(axis=0) * 2.0**_COARSE_BITS  # in steps of the samples
    step = 2.0 ** np.ceil(np.log2(np.maximum(largest_sum, 1e-30)) - _FLOAT32_BITS)  # the sine of bin 0 is all zero
    return np.round(basis / step) * step
