"""Whisper's encoder: built for 30 s, and cut to the length of the clips.

Each position has a fixed embedding. Cutting the model keeps the first rows of the table of positions, and all other
weights. A clip of 1 s then costs 1/30 of the full length.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from earmark.families.family import Family, Recipe
from earmark.families.features import Features, is_valid
from earmark.families.frontend_settings import FrontendSettings, with_settings
from earmark.families.fused import linears_before_gelu
from earmark.families.mel_filters import MelScale, mel_filters
from earmark.families.spectra import Product, fourier_basis, hann, overlapping_frames, power, to_float32
from earmark.families.whisper_layers import PlainWhisper

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

    from earmark.families.plain_model import PlainConfig

_FRAMES_PER_POSITION = 2  # the second convolution has stride 2
_FRAMES_PER_SECOND = 100
_HIGHEST_HZ = 8000.0  # upper edge of Whisper's mel filters, at any sampling rate


@dataclass(frozen=True)
class WhisperSettings(FrontendSettings):
    """Log10 mel spectrogram of the clip, padded to one length, with a floor eight decades below its peak.

    Attributes:
        feature_size: number of mel bins.
        chunk_length: length of the padded clip, in whole seconds.
        hop_length: samples between frames.
        n_fft: samples per frame.
        dither: level of added noise; tensor code supports only 0.
    """

    extractor_type = "WhisperFeatureExtractor"

    feature_size: int = 80
    chunk_length: int = 30
    hop_length: int = 160
    n_fft: int = 400
    dither: float = 0.0

    @property
    def n_samples(self) -> int:
        """Length of the padded clip, in samples."""
        return self.chunk_length * self.sampling_rate

    def derived(self) -> dict[str, object]:
        """See the base class."""
        return {"n_samples": self.n_samples, "nb_max_frames": self.n_samples // self.hop_length}

    def features(self) -> WhisperFeatures:
        """See the base class."""
        return WhisperFeatures(self)


class WhisperFeatures(Features):
    """Returns ``input_features`` (B, M, F).

    Frames are centred and the last one is dropped, as in OpenAI's ``whisper/audio.py``.
    """

    input_name = "input_features"
    bins_first = True
    basis: torch.Tensor
    filters: torch.Tensor

    def __init__(self, settings: WhisperSettings) -> None:
        super().__init__()
        self.settings = settings
        n_fft = settings.n_fft
        filters = mel_filters(
            MelScale.SLANEY,
            num_bins=1 + n_fft // 2,
            num_mels=settings.feature_size,
            lowest_hz=0.0,
            highest_hz=_HIGHEST_HZ,
            rate_hz=settings.sampling_rate,
        )
        basis = fourier_basis(hann(n_fft, periodic=True), n_fft)
        self.register_buffer("basis", to_float32(basis), persistent=False)
        self.register_buffer("filters", to_float32(filters), persistent=False)
        self.to_spectrum, self.to_mel = Product(), Product()

    @property
    def pads_with_silence(self) -> bool:
        """See the base class."""
        return self.settings.padding_value == 0.0

    def num_frames(self, num_samples: torch.Tensor) -> torch.Tensor:
        """See the base class."""
        return num_samples // self.settings.hop_length

    def compute(self, samples: torch.Tensor, num_samples: torch.Tensor) -> dict[str, torch.Tensor]:
        """See the base class."""
        length, n_fft, value = self.settings.n_samples, self.settings.n_fft, self.settings.padding_value
        samples = samples[:, :length]
        samples = F.pad(samples, (0, length - samples.shape[1]))
        if value != 0.0:
            samples = samples.masked_fill(~is_valid(num_samples, length), value)
        centred = F.pad(samples[:, None], (n_fft // 2, n_fft // 2), mode="reflect")[:, 0]
        frames = overlapping_frames(centred, n_fft, self.settings.hop_length)[:, :-1]  # (B, F, n_fft)
        energies = power(self.to_spectrum(frames, self.basis))  # (B, F, bins)
        log_mel = self.to_mel(energies, self.filters).clamp(min=1e-10).log10()  # (B, F, M)
        log_mel = torch.maximum(log_mel, log_mel.amax(dim=(1, 2), keepdim=True) - 8.0)
        return {"input_features": ((log_mel + 4.0) / 4.0).transpose(1, 2)}


class Whisper(Family):
    """Whisper's encoder with a head; its frontend supports only whole seconds."""

    model_types = ("whisper",)
    frontend = WhisperSettings
    takes_one_length = True
    masks_padding = True
    feature_encoder = ("conv1", "conv2")
    layer_drop = "encoder_layerdrop"
    # The encoder of OpenAI's Whisper, cut to 1 s, reaches 0.972 validation accuracy on Speech Commands after 332 steps
    # at this rate. The recipe of docs/accuracy.md, with augmentation, reaches 0.987 after 664 steps.
    pretrained = Recipe(1e-4, 32, 500)

    def plain_class(self, config: PlainConfig) -> type[PlainWhisper]:
        """See the base class."""
        return PlainWhisper

    def native_length_s(self, config: PreTrainedConfig, extractor: Any) -> float | None:
        """See the base class."""
        frames = config.max_source_positions * _FRAMES_PER_POSITION
        return float(frames * extractor.hop_length / extractor.sampling_rate)

    def possible_length_s(self, config: PreTrainedConfig, extractor: object, length_s: float) -> float:
        """See the base class."""
        native_s = self.native_length_s(config, extractor)
        assert native_s is not None
        return float(min(math.ceil(length_s), round(native_s)))

    def cut(self, model: PreTrainedModel, extractor: Any, length_s: float) -> Any:
        """See the base class."""
        seconds = round(length_s)
        positions = seconds * extractor.sampling_rate // extractor.hop_length // _FRAMES_PER_POSITION
        encoder = model.get_submodule("encoder")
        table = encoder.embed_positions.weight.detach()[:positions].clone()  # (positions, width)
        encoder.embed_positions = nn.Embedding.from_pretrained(table, freeze=True)
        encoder.max_source_positions = positions
        model.config.max_source_positions = positions
        return with_settings(extractor, chunk_length=seconds)

    def restore_length(self, config: PreTrainedConfig, other: Any) -> None:
        """See the base class."""
        config.max_source_positions = other.max_source_positions

    def default_frontend(self, config: PreTrainedConfig) -> WhisperSettings:
        """See the base class."""
        seconds = config.max_source_positions * _FRAMES_PER_POSITION // _FRAMES_PER_SECOND
        return WhisperSettings(feature_size=config.num_mel_bins, chunk_length=seconds)

    def activated_linears(self, model: Any) -> list[tuple[Any, Any]]:
        """See the base class."""
        return linears_before_gelu(self.layers(model))

    def parts_behind_layers(self, config: PreTrainedConfig) -> tuple[str, ...]:
        """See the base class."""
        return ("layer_norm",)
