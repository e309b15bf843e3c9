"""Transformers' feature extractors as tensor code, which runs where the samples are and asks nothing of the host.

The settings, mel filters and windows are those of the extractor, so that a saved ``preprocessor_config.json`` says all
there is to say. Spectra are matrix products with a Fourier basis: no complex numbers, which not every accelerator has,
and as fast as an FFT for frames of 400 samples.

Shapes: B batch, T samples, F frames, W samples of a frame, M mel bins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers.audio_utils import mel_filter_bank, window_function


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
    """The tensor code for an extractor; ``None`` for a class or setting that it does not know."""
    kind = type(extractor).__name__
    if kind == "Wav2Vec2FeatureExtractor":
        return WaveformFeatures(extractor)
    if kind == "WhisperFeatureExtractor" and getattr(extractor, "dither", 0.0) == 0.0:
        return WhisperFeatures(extractor)
    if kind == "ASTFeatureExtractor":
        return ASTFeatures(extractor)
    if kind == "SeamlessM4TFeatureExtractor":
        return SeamlessFeatures(extractor)
    return None


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
        self.do_normalize = bool(getattr(extractor, "do_normalize", False))
        window = window_function(self.n_fft, "hann")
        _buffers(self, window, self.n_fft, extractor.mel_filters)

    def compute(self, samples: torch.Tensor, num_samples: torch.Tensor) -> dict[str, torch.Tensor]:
        """See the class."""
        samples = samples[:, : self.num_samples]
        samples = F.pad(samples, (0, self.num_samples - samples.shape[1]))
        if self.do_normalize:
            count = num_samples.clamp(max=self.num_samples)
            valid = _valid(count, self.num_samples)
            samples = _normalized(samples, valid, count[:, None], dim=1, lost_degrees=0).masked_fill(~valid, 0.0)
        half = self.n_fft // 2
        centred = F.pad(samples[:, None], (half, half), mode="reflect")[:, 0]
        frames = centred.unfold(1, self.n_fft, self.hop)[:, :-1]  # (B, F, W); the last one is left out by Whisper
        log_mel = _mel_energies(frames, self.basis, self.filters).clamp(min=1e-10).log10()
        log_mel = torch.maximum(log_mel, log_mel.amax(dim=(1, 2), keepdim=True) - 8.0)
        return {"input_features": ((log_mel + 4.0) / 4.0).transpose(1, 2)}


class _KaldiFeatures(Features):
    """Kaldi's filter banks: frames of 25 ms every 10 ms within the clip, mean removed, pre-emphasis, natural log."""

    basis: torch.Tensor
    filters: torch.Tensor
    frame, hop, n_fft = 400, 160, 512  # fixed in Transformers' extractors
    floor = 1.192092955078125e-07
    emphasis = 0.97

    def __init__(self, extractor: Any, window: str) -> None:
        super().__init__()
        filters = getattr(extractor, "mel_filters", None)
        if filters is None:  # AST's own are inside torchaudio where that is installed
            filters = mel_filter_bank(
                num_frequency_bins=self.n_fft // 2 + 1,
                num_mel_filters=extractor.num_mel_bins,
                min_frequency=20,
                max_frequency=extractor.sampling_rate // 2,
                sampling_rate=extractor.sampling_rate,
                norm=None,
                mel_scale="kaldi",
                triangularize_in_mel_space=True,
            )
        _buffers(self, window_function(self.frame, window, periodic=False), self.n_fft, filters)

    def log_mel(self, samples: torch.Tensor) -> torch.Tensor:
        """(B, F, M) of samples (B, T)."""
        samples = F.pad(samples, (0, max(0, self.frame - samples.shape[1])))
        frames = samples.unfold(1, self.frame, self.hop)  # (B, F, W)
        frames = frames - frames.mean(dim=-1, keepdim=True)
        first, rest = frames[..., :1], frames[..., 1:]
        frames = torch.cat([first * (1 - self.emphasis), rest - self.emphasis * frames[..., :-1]], dim=-1)
        return _mel_energies(frames, self.basis, self.filters).clamp(min=self.floor).log()

    def num_frames(self, num_samples: torch.Tensor) -> torch.Tensor:
        """Whole frames in so many samples, int64 (B,)."""
        return ((num_samples - self.frame) // self.hop + 1).clamp(min=0)


class ASTFeatures(_KaldiFeatures):
    """``ASTFeatureExtractor``: filter banks padded with zeros or cut to one length, then normalised.

    Gives ``input_values`` (B, F, M).
    """

    def __init__(self, extractor: Any) -> None:
        super().__init__(extractor, "hann")
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
        super().__init__(extractor, "povey")
        self.stride = int(extractor.stride)
        self.padding_value = float(extractor.padding_value)

    def compute(self, samples: torch.Tensor, num_samples: torch.Tensor) -> dict[str, torch.Tensor]:
        """See the class."""
        log_mel = self.log_mel(samples * 2**15)
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


def _buffers(module: nn.Module, window: np.ndarray, n_fft: int, mel_filters: np.ndarray) -> None:
    """Register the windowed Fourier basis (W, 2 * bins) and the mel filters (bins, M), float32, not saved."""
    time = np.arange(len(window))[:, None]
    angle = 2 * np.pi * time * np.arange(n_fft // 2 + 1)[None] / n_fft
    basis = np.concatenate([np.cos(angle), -np.sin(angle)], axis=1) * window[:, None]
    for name, values in (("basis", basis), ("filters", np.asarray(mel_filters))):
        module.register_buffer(name, torch.from_numpy(values.astype(np.float32)), persistent=False)


def _mel_energies(frames: torch.Tensor, basis: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
    """Frames (B, F, W) to mel energies (B, F, M)."""
    real, imaginary = (frames @ basis).chunk(2, dim=-1)  # (B, F, bins) each
    return (real.square() + imaginary.square()) @ filters


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
