"""Transformers' feature extractors as tensor code, which runs where the samples are and asks nothing of the host.

The settings, mel filters and windows are those of the extractor, so that a saved ``preprocessor_config.json`` says all
there is to say. Spectra are matrix products with a Fourier basis: neither complex numbers nor float64, which not every
accelerator has, and no FFT to export.

Shapes: B batch, T samples, F frames, W samples of a frame, M mel bins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import (
    ASTFeatureExtractor,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)
from transformers.audio_utils import mel_filter_bank, window_function

from earmark.models.framing import frames_of
from earmark.models.packed import Product

_FLOAT32_BITS = 24
_COARSE_BITS = 9  # of a sample, below the peak of its clip; the basis has what is left of 24. See _KaldiFeatures


class Features(nn.Module):
    """Base: samples (B, T) float32, zero behind ``num_samples`` (B,) int64 of them, to model inputs by name.

    What comes out for a clip depends neither on T nor on the other clips of the batch.
    """

    def forward(self, samples: torch.Tensor, num_samples: torch.Tensor) -> dict[str, torch.Tensor]:
        """Model inputs in float32, whatever autocast is on."""
        with torch.autocast(samples.device.type, enabled=False):
            return self.compute(samples.float(), num_samples)

    def compute(self, samples: torch.Tensor, num_samples: torch.Tensor) -> dict[str, torch.Tensor]:
        """Model inputs."""
        raise NotImplementedError


def make_features(extractor: Any) -> Features | None:
    """The tensor code for an extractor.

    Returns:
        ``None`` for a class or setting that it does not know: subclasses may compute anything, dither is random, and
        padding on the left is for generation.
    """
    known = _BY_EXTRACTOR.get(type(extractor))
    if known is None or extractor.padding_side != "right" or getattr(extractor, "dither", 0.0) != 0.0:
        return None
    return known(extractor)


class WaveformFeatures(Features):
    """``Wav2Vec2FeatureExtractor``: each clip to zero mean and unit variance, where it is set to.

    Gives ``input_values`` (B, T) and ``attention_mask`` (B, T) int64.
    """

    def __init__(self, extractor: Any) -> None:
        super().__init__()
        self.do_normalize = bool(extractor.do_normalize)
        self.padding_value = float(extractor.padding_value)

    def compute(self, samples: torch.Tensor, num_samples: torch.Tensor) -> dict[str, torch.Tensor]:
        """See the class."""
        valid = _valid(num_samples, samples.shape[1])
        if self.do_normalize:
            samples = _normalized(samples, valid, num_samples[:, None], dim=1, lost_degrees=0)
        if self.do_normalize or self.padding_value != 0.0:
            samples = samples.masked_fill(~valid, self.padding_value)
        return {"input_values": samples, "attention_mask": valid.long()}


class WhisperFeatures(Features):
    """``WhisperFeatureExtractor``: log10 mel of the clip padded to one length, eight decades below its peak.

    Gives ``input_features`` (B, M, F).
    """

    basis: torch.Tensor
    filters: torch.Tensor

    def __init__(self, extractor: Any) -> None:
        super().__init__()
        self.num_samples = int(extractor.n_samples)
        self.n_fft = int(extractor.n_fft)
        self.hop = int(extractor.hop_length)
        self.padding_value = float(extractor.padding_value)
        # an attribute do_normalize is not looked at: the extractor knows it as an argument of a call only
        self.register_buffer("basis", _float32(_fourier_basis(window_function(self.n_fft, "hann"), self.n_fft)), False)
        self.register_buffer("filters", _float32(extractor.mel_filters), False)
        self.to_spectrum, self.to_mel = Product(), Product()

    def compute(self, samples: torch.Tensor, num_samples: torch.Tensor) -> dict[str, torch.Tensor]:
        """See the class."""
        samples = samples[:, : self.num_samples]
        samples = F.pad(samples, (0, self.num_samples - samples.shape[1]))
        if self.padding_value != 0.0:
            samples = samples.masked_fill(~_valid(num_samples, self.num_samples), self.padding_value)
        half = self.n_fft // 2
        centred = F.pad(samples[:, None], (half, half), mode="reflect")[:, 0]
        frames = frames_of(centred, self.n_fft, self.hop)[:, :-1]  # (B, F, W); the last one is left out by Whisper
        power = _power(self.to_spectrum(frames, self.basis))  # (B, F, bins)
        log_mel = self.to_mel(power, self.filters).clamp(min=1e-10).log10()  # (B, F, M)
        log_mel = torch.maximum(log_mel, log_mel.amax(dim=(1, 2), keepdim=True) - 8.0)
        return {"input_features": ((log_mel + 4.0) / 4.0).transpose(1, 2)}


class _KaldiFeatures(Features):
    """Kaldi's filter banks: frames of 25 ms every 10 ms within the clip, mean removed, pre-emphasis, natural log.

    There is no floor near the peak, so a quiet band must not drown in the rounding of a loud one beside it. Removing
    the mean and pre-emphasis are linear, hence part of the basis, and the product with it is taken in three parts
    (after Ozaki et al. 2012, "Error-free transformations of matrix multiplication"): samples and basis are each cut
    into a coarse part, so short that float32 adds up coarse times coarse without rounding, and a rest, whose products
    are small and so are their errors. One product, or an FFT, in float32 is wrong by up to a few per cent of a bin's
    standard deviation where a band is 100 dB below the loudest one.
    """

    coarse_basis: torch.Tensor
    rest_basis: torch.Tensor
    basis: torch.Tensor
    filters: torch.Tensor
    hop = 160  # this and the next two are written into the extractors' code, not among their settings
    floor = 1.192092955078125e-07
    emphasis = 0.97

    def __init__(self, extractor: Any, *, window: str, scale: float = 1.0) -> None:
        super().__init__()
        weights = getattr(extractor, "window", None)
        filters = getattr(extractor, "mel_filters", None)
        if weights is None or filters is None:  # AST's own are inside torchaudio where that is installed
            weights, filters = window_function(400, window, periodic=False), _ast_filters(extractor)
        self.frame = len(weights)
        basis = scale * _kaldi_basis(np.asarray(weights), 2 * (len(filters) - 1), self.emphasis)
        coarse = _coarse_basis(basis)
        for name, values in (("coarse_basis", coarse), ("rest_basis", basis - coarse), ("basis", basis)):
            self.register_buffer(name, _float32(values), persistent=False)  # (W, 2 * bins)
        self.register_buffer("filters", _float32(filters), persistent=False)
        self.by_coarse, self.by_rest, self.by_basis, self.to_mel = (Product() for _ in range(4))

    def log_mel(self, samples: torch.Tensor) -> torch.Tensor:
        """(B, F, M) of samples (B, T)."""
        if samples.shape[1] < self.frame:
            samples = F.pad(samples, (0, self.frame - samples.shape[1]))
        # beside a number 2**15 times the peak, float32 has room for the highest 9 bits of a sample
        large = samples.abs().amax(dim=1, keepdim=True) * 2.0 ** (_FLOAT32_BITS - _COARSE_BITS)
        coarse = (samples + large) - large
        frames, rest = (frames_of(part, self.frame, self.hop) for part in (coarse, samples - coarse))  # (B, F, W)
        small = self.by_rest(frames, self.rest_basis) + self.by_basis(rest, self.basis)
        spectrum = self.by_coarse(frames, self.coarse_basis) + small  # (B, F, 2 * bins)
        return self.to_mel(_power(spectrum), self.filters).clamp(min=self.floor).log()

    def num_frames(self, num_samples: torch.Tensor) -> torch.Tensor:
        """Whole frames in so many samples, int64 (B,)."""
        return ((num_samples - self.frame) // self.hop + 1).clamp(min=0)


class ASTFeatures(_KaldiFeatures):
    """``ASTFeatureExtractor``: filter banks padded with zeros or cut to one length, then normalised.

    Gives ``input_values`` (B, F, M).
    """

    def __init__(self, extractor: Any) -> None:
        super().__init__(extractor, window="hann")
        self.max_length = int(extractor.max_length)
        self.do_normalize = bool(extractor.do_normalize)
        self.mean, self.std = float(extractor.mean), float(extractor.std)

    def compute(self, samples: torch.Tensor, num_samples: torch.Tensor) -> dict[str, torch.Tensor]:
        """See the class."""
        log_mel = self.log_mel(samples)[:, : self.max_length]
        valid = _valid(self.num_frames(num_samples), log_mel.shape[1])
        log_mel = F.pad(log_mel * valid[..., None], (0, 0, 0, self.max_length - log_mel.shape[1]))
        if self.do_normalize:
            log_mel = (log_mel - self.mean) / (self.std * 2)
        return {"input_values": log_mel}


class SeamlessFeatures(_KaldiFeatures):
    """``SeamlessM4TFeatureExtractor``: filter banks normalised bin by bin, ``stride`` frames put into one.

    Gives ``input_features`` (B, F, stride * M) and ``attention_mask`` (B, F) int64.
    """

    def __init__(self, extractor: Any) -> None:
        super().__init__(extractor, window="povey", scale=2.0**15)
        self.stride = int(extractor.stride)
        self.padding_value = float(extractor.padding_value)

    def compute(self, samples: torch.Tensor, num_samples: torch.Tensor) -> dict[str, torch.Tensor]:
        """See the class."""
        log_mel = self.log_mel(samples)
        count = self.num_frames(num_samples)
        valid = _valid(count, log_mel.shape[1])[..., None]  # (B, F, 1)
        log_mel = _normalized(log_mel, valid, count[:, None, None], dim=1, lost_degrees=1)
        log_mel = log_mel.masked_fill(~valid, self.padding_value)
        # padded to an even number of frames, whatever the stride; what is left over of it is cut
        frames = log_mel.shape[1] + log_mel.shape[1] % 2
        log_mel = F.pad(log_mel, (0, 0, 0, frames - log_mel.shape[1]), value=self.padding_value)
        frames -= frames % self.stride
        stacked = log_mel[:, :frames].unflatten(1, (-1, self.stride)).flatten(2)
        # a stacked frame counts when its second half does; with a stride of 1 the extractor leaves no mask at all
        mask = _valid(count, frames)[:, 1 :: self.stride] if self.stride > 1 else valid[:, :0, 0]
        return {"input_features": stacked, "attention_mask": mask.long()}


_BY_EXTRACTOR: dict[type, type[Any]] = {
    Wav2Vec2FeatureExtractor: WaveformFeatures,
    WhisperFeatureExtractor: WhisperFeatures,
    ASTFeatureExtractor: ASTFeatures,
    SeamlessM4TFeatureExtractor: SeamlessFeatures,
}


def _float32(values: Any) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values).astype(np.float32))


def _fourier_basis(window: np.ndarray, n_fft: int) -> np.ndarray:
    """Windowed cosines and sines, float64 (W, 2 * bins)."""
    turns = np.arange(len(window))[:, None] * np.arange(n_fft // 2 + 1)[None] % n_fft
    angle = 2 * np.pi * turns / n_fft
    return np.concatenate([np.cos(angle), -np.sin(angle)], axis=1) * window[:, None]


def _kaldi_basis(window: np.ndarray, n_fft: int, emphasis: float) -> np.ndarray:
    """The Fourier basis behind pre-emphasis behind removal of the mean, float64 (W, 2 * bins)."""
    emphasised = np.eye(len(window)) - emphasis * np.eye(len(window), k=-1)  # x[t] - 0.97 x[t - 1]
    emphasised[0, 0] -= emphasis
    basis = emphasised.T @ _fourier_basis(window, n_fft)
    return basis - basis.mean(axis=0)


def _coarse_basis(basis: np.ndarray) -> np.ndarray:
    """Each column (bin) rounded so far that its product with coarse samples is exact in float32."""
    largest_sum = np.abs(basis).sum(axis=0) * 2.0**_COARSE_BITS  # in steps of the samples
    step = 2.0 ** np.ceil(np.log2(np.maximum(largest_sum, 1e-30)) - _FLOAT32_BITS)  # the sine of bin 0 is all zero
    return np.round(basis / step) * step


def _ast_filters(extractor: Any) -> np.ndarray:
    """Mel filters (bins, M) of an AST extractor that leaves them to torchaudio."""
    return mel_filter_bank(
        num_frequency_bins=257,
        num_mel_filters=extractor.num_mel_bins,
        min_frequency=20,
        max_frequency=extractor.sampling_rate // 2,
        sampling_rate=extractor.sampling_rate,
        norm=None,
        mel_scale="kaldi",
        triangularize_in_mel_space=True,
    )


def _power(spectrum: torch.Tensor) -> torch.Tensor:
    """Real parts beside imaginary parts (B, F, 2 * bins) to power (B, F, bins)."""
    real, imaginary = spectrum.chunk(2, dim=-1)
    return real.square() + imaginary.square()


def _valid(count: torch.Tensor, length: int) -> torch.Tensor:
    """Which of ``length`` places are within the first ``count`` (B,) ones: bool (B, length)."""
    return torch.arange(length, device=count.device) < count[:, None]


def _normalized(
    values: torch.Tensor, valid: torch.Tensor, count: torch.Tensor, *, dim: int, lost_degrees: int
) -> torch.Tensor:
    """Zero mean and unit variance along ``dim`` over the valid places, of which there are ``count``."""
    values = values - values.narrow(dim, 0, 1)  # so that a mean of equal values (digital silence) is exact
    mean = (values * valid).sum(dim=dim, keepdim=True) / count
    spread = (values - mean) * valid
    variance = spread.square().sum(dim=dim, keepdim=True) / (count - lost_degrees).clamp(min=1)
    return (values - mean) / (variance + 1e-7).sqrt()
