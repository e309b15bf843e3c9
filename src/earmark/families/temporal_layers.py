"""The layers of TC-ResNet, a small classifier that trains from scratch on a CPU.

A residual network of temporal convolutions over a log-mel spectrogram, whose mel bins are the input channels (Choi et
al. 2019, "Temporal Convolution for Real-time Keyword Spotting on Mobile Devices", arXiv:1904.03814): the 14-layer
network of that paper, widened to 1 M parameters. It takes waveforms and computes the log-mel with matrix products,
which run on every device and need no FFT in an export.

:mod:`earmark.models.tc_resnet` wraps these layers in a model of Transformers, for training and for plain Transformers.
:class:`PlainTCResNet` needs only torch.

Shapes: B batch, T samples, F frames, M mel bins, D channels, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from earmark.families.mel_filters import MelScale, mel_filters
from earmark.families.plain_model import PlainClassifier, PlainConfig, PlainOutput
from earmark.families.spectra import Product, fourier_basis, hann, overlapping_frames, power
from earmark.io.json_values import are_sizes, is_fraction, is_positive, is_size

_LOG_FLOOR = 1e-6  # added to mel energies, about -60 dB of a full-scale tone, so that silence has a finite logarithm


def shortest_input(config: Any) -> int:
    """Return the minimum number of samples for two frames after the last block: batch norms cannot train on one."""
    halvings = sum(after > before for before, after in pairwise([config.stem_channels, *config.channels]))
    return int(config.window_samples + config.hop_samples * 2**halvings)


class LogMel(nn.Module):
    """Maps waveforms (B, T) to log-mel energies (B, F, M): Hann window, Fourier transform as a matrix, HTK mel filters.

    Both matrices are saved with the weights, so a model keeps the frontend it was trained with.
    """

    fourier: torch.Tensor
    filters: torch.Tensor

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.window_samples = config.window_samples
        self.hop_samples = config.hop_samples
        self.register_buffer("fourier", torch.from_numpy(_fourier_matrix(config.window_samples)))
        self.register_buffer("filters", torch.from_numpy(_mel_filters(config)))
        self.to_spectrum, self.to_mel = Product(), Product()

    def compute_matrices(self, config: Any) -> None:
        """Compute both matrices, for a model that was built on the meta device, without values."""
        self.fourier.copy_(torch.from_numpy(_fourier_matrix(config.window_samples)))
        self.filters.copy_(torch.from_numpy(_mel_filters(config)))

    def frames(self, samples: torch.Tensor) -> torch.Tensor:
        """Return the number of whole frames in ``samples`` (B,), at least one."""
        return ((samples - self.window_samples) // self.hop_samples + 1).clamp(min=1)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """Return log-mel (B, F, M) float32, also under autocast, because bfloat16 is too coarse for its range."""
        with torch.autocast(waveform.device.type, enabled=False):
            missing = self.window_samples - waveform.shape[-1]
            wave = F.pad(waveform.float(), (0, missing)) if missing > 0 else waveform.float()
            frames = overlapping_frames(wave, self.window_samples, self.hop_samples)  # (B, F, window)
            spectrum = self.to_spectrum(frames, self.fourier.float())  # (B, F, 2 * bins)
            energies = self.to_mel(power(spectrum), self.filters.float())  # (B, F, M)
            return (energies + _LOG_FLOOR).log()


def _fourier_matrix(window_samples: int) -> np.ndarray:
    """Return Hann-windowed cosines and sines, float32 (window, 2 * bins); a full-scale tone has energy 1."""
    window = hann(window_samples, periodic=True)
    return (fourier_basis(window, window_samples) * 2 / window.sum()).astype(np.float32)


def _mel_filters(config: Any) -> np.ndarray:
    """Return triangular filters, float32 (bins, M), with equal widths on the HTK mel scale."""
    return mel_filters(
        MelScale.HTK,
        num_bins=config.window_samples // 2 + 1,
        num_mels=config.num_mel_bins,
        lowest_hz=config.min_frequency,
        highest_hz=config.sampling_rate / 2,
        rate_hz=config.sampling_rate,
    ).astype(np.float32)


class TCResNetBlock(nn.Module):
    """Two temporal convolutions and a shortcut, from (B, D_in, F) to (B, D_out, ceil(F / stride))."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        padding = kernel_size // 2
        self.conv1 = nn.Conv1d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
        self.norm1 = nn.BatchNorm1d(out_channels)
        self.conv2 = nn.Conv1d(out_channels, out_channels, kernel_size, 1, padding, bias=False)
        self.norm2 = nn.BatchNorm1d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            convolution = nn.Conv1d(in_channels, out_channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm1d(out_channels))

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return frames and their mask (B, 1, F) at the new frame rate; padding stays zero, so it affects no frame."""
        mask = mask[..., :: self.stride] if mask is not None else None
        inner = _masked(F.relu(self.norm1(self.conv1(hidden))), mask)
        outer = self.norm2(self.conv2(inner)) + self.shortcut(hidden)
        return _masked(F.relu(outer), mask), mask


def _masked(hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    return hidden if mask is None else hidden * mask


class TemporalBody(nn.Module):
    """Maps waveforms to frame features.

    The log-mel is split into its mean over time, called the colour, and the changes around this mean. The colour
    depends on the voice and the microphone, so words are learned better from the changes only (accuracy 0.93 instead
    of 0.89 on unseen synthetic voices), but a steady sound has no changes. So both are inputs, and training removes the
    colour of most clips.

    Attributes:
        config: settings, named as in :class:`earmark.models.tc_resnet.TCResNetConfig`.
    """

    config: Any

    def add_layers(self) -> None:
        """Add the layers that ``config`` describes."""
        config = self.config
        self.log_mel = LogMel(config)
        self.stem = nn.Sequential(
            nn.Conv1d(2 * config.num_mel_bins, config.stem_channels, 3, padding=1, bias=False),
            nn.BatchNorm1d(config.stem_channels),
            nn.ReLU(),
        )
        widths = [config.stem_channels, *config.channels]
        self.layers = nn.ModuleList(
            TCResNetBlock(before, after, config.kernel_size, stride=2 if after > before else 1)
            for before, after in pairwise(widths)
        )

    def encode(
        self, input_values: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return features (B, D, F) and their mask (B, 1, F), or ``None`` without padding."""
        if self.training and self.config.time_shift_ms > 0:
            input_values = self._shift(input_values)
        features = self.log_mel(input_values)  # (B, F, M)
        mask = None
        if attention_mask is not None:
            valid = self.log_mel.frames(attention_mask.sum(-1))[:, None]  # (B, 1)
            mask = (torch.arange(features.shape[1], device=features.device) < valid).to(features.dtype)[:, None]
        changes, colour = _split_colour(features.transpose(1, 2), mask)  # (B, M, F), (B, M, 1)
        if self.training:
            changes, colour = self._hide(changes), self._drop_colour(colour)
        hidden = torch.cat([changes, colour.expand_as(changes)], dim=1)  # (B, 2 M, F)
        hidden = hidden.to(next(self.stem.parameters()).dtype)  # the log-mel is always float32
        mask = mask.to(hidden.dtype) if mask is not None else None
        hidden = _masked(self.stem(_masked(hidden, mask)), mask)
        for layer in self.layers:
            hidden, mask = layer(hidden, mask)
        return hidden, mask

    def _shift(self, waveform: torch.Tensor) -> torch.Tensor:
        """Shift each clip (B, T) in time by a random amount, and fill with silence."""
        reach = round(self.config.time_shift_ms / 1000 * self.config.sampling_rate)
        samples = waveform.shape[-1]
        reach = min(reach, samples // 4)
        if reach < 1:
            return waveform
        offsets = torch.randint(0, 2 * reach + 1, (len(waveform), 1), device=waveform.device)
        where = torch.arange(samples, device=waveform.device) + offsets  # (B, T) into the padded clip
        return F.pad(waveform, (reach, reach)).gather(1, where)

    def _drop_colour(self, colour: torch.Tensor) -> torch.Tensor:
        """Remove the colour (B, M, 1) of a random fraction of the clips."""
        kept = torch.rand(len(colour), 1, 1, device=colour.device) >= self.config.colour_dropout
        return colour * kept

    def _hide(self, hidden: torch.Tensor) -> torch.Tensor:
        """Apply SpecAugment to (B, M, F): set bands and time spans to zero, which is the mean."""
        batch, bins, frames = hidden.shape
        for _ in range(2):
            hidden = hidden * _gap(batch, frames, min(self.config.time_mask_frames, frames // 4), hidden)[:, None, :]
        return hidden * _gap(batch, bins, min(self.config.frequency_mask_bins, bins // 4), hidden)[:, :, None]


def _split_colour(features: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Split log-mel (B, M, F) into its changes over time (B, M, F) and its colour (B, M, 1).

    The colour is the mean of each bin over the clip's valid frames, minus the mean of all bins, which is the level.
    """
    if mask is None:
        mean = features.mean(dim=-1, keepdim=True)
    else:
        mean = (features * mask).sum(dim=-1, keepdim=True) / mask.sum(dim=-1, keepdim=True)
    return features - mean, mean - mean.mean(dim=1, keepdim=True)


def _gap(batch: int, length: int, longest: int, like: torch.Tensor) -> torch.Tensor:
    """Return ones (B, length) with one span of zeros per row, with random start and a length up to ``longest``."""
    width = torch.rand(batch, 1, device=like.device) * longest
    start = torch.rand(batch, 1, device=like.device) * (length - width)
    position = torch.arange(length, device=like.device)
    return ((position < start) | (position >= start + width)).to(like.dtype)


class TemporalClassifier(nn.Module):
    """A linear classifier on frame features averaged over the clip.

    Attributes:
        config: settings, as for :class:`TemporalBody`, and ``num_labels``.
        tc_resnet: the body.
    """

    config: Any
    tc_resnet: TemporalBody

    def add_head(self) -> None:
        """Add the layers that follow the body."""
        self.dropout = nn.Dropout(self.config.dropout)
        self.classifier = nn.Linear(self.config.channels[-1], self.config.num_labels)

    def logits(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return logits (B, C).

        Args:
            input_values: (B, T) float32, at the configuration's sampling rate.
            attention_mask: (B, T), 1 for samples and 0 for padding after them, which then has no effect on logits.
        """
        logits: torch.Tensor = self.classifier(self.dropout(self.pooled(input_values, attention_mask)))
        return logits

    def pooled(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return frame features averaged over each clip, (B, D); arguments as for :meth:`logits`."""
        hidden, mask = self.tc_resnet.encode(input_values, attention_mask)
        wide = hidden.float()  # bfloat16 is too coarse for a sum over the frames of a long clip
        pooled = wide.mean(-1) if mask is None else (wide * mask).sum(-1) / mask.float().sum(-1)
        return pooled.to(hidden.dtype)


class PlainTCResNet(TemporalClassifier, PlainClassifier):
    """The classifier without Transformers, for scoring."""

    library_classes = ("TCResNetForAudioClassification",)
    settings: ClassVar[Mapping[str, Callable[[object], bool]]] = {
        **dict.fromkeys(("sampling_rate", "window_samples", "hop_samples", "num_mel_bins"), is_size),
        **dict.fromkeys(("stem_channels", "kernel_size"), is_size),
        "channels": are_sizes,
        "min_frequency": lambda value: value == 0 or is_positive(value),
        "dropout": is_fraction,
    }

    def __init__(self, config: PlainConfig) -> None:
        super().__init__(config)
        self.tc_resnet = TemporalBody()
        self.tc_resnet.config = config
        self.tc_resnet.add_layers()
        self.add_head()

    @property
    def base_model(self) -> nn.Module:
        """The body, as in Transformers."""
        return self.tc_resnet

    def forward(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None) -> PlainOutput:
        """Return logits (B, C); arguments as for :meth:`TemporalClassifier.logits`."""
        return PlainOutput(self.logits(input_values, attention_mask))
