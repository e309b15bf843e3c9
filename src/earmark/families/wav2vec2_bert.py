"""Wav2Vec2-BERT: mel frames, several of them stacked into one, and a conformer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from earmark.families.family import MEL_HOP_S, Family, span_frames
from earmark.families.features import is_valid, normalized
from earmark.families.frontend_settings import FrontendSettings
from earmark.families.kaldi import FRAME, KaldiFeatures
from earmark.families.spectra import povey
from earmark.io.json_values import is_size

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_MEL_BINS = 80


@dataclass(frozen=True)
class StackedMelSettings(FrontendSettings):
    """Kaldi's filter banks, normalized per bin over the clip, with several frames stacked into one.

    Attributes:
        num_mel_bins: number of mel bins.
        stride: number of frames stacked into one.
    """

    extractor_type = "SeamlessM4TFeatureExtractor"

    feature_size: int = _MEL_BINS
    return_attention_mask: bool = True
    num_mel_bins: int = _MEL_BINS
    stride: int = 2

    @property
    def levels_out(self) -> bool:
        """True, because the mean of each mel bin, in decibels, is subtracted."""
        return True

    def features(self) -> StackedMelFeatures:
        """See the base class."""
        return StackedMelFeatures(self)


class StackedMelFeatures(KaldiFeatures):
    """Returns ``input_features`` (B, F, stride * M) and ``attention_mask`` (B, F) int64."""

    input_name = "input_features"

    def __init__(self, settings: StackedMelSettings) -> None:
        super().__init__(settings.sampling_rate, settings.num_mel_bins, povey(FRAME), scale=2.0**15)
        self.stride = settings.stride
        self.padding_value = settings.padding_value

    def num_frames(self, num_samples: torch.Tensor) -> torch.Tensor:
        """See the base class."""
        return self.whole_frames(num_samples) // self.stride

    def compute(self, samples: torch.Tensor, num_samples: torch.Tensor) -> dict[str, torch.Tensor]:
        """See the base class."""
        log_mel = self.log_mel(samples)
        count = self.whole_frames(num_samples)
        valid = is_valid(count, log_mel.shape[1])[..., None]  # (B, F, 1)
        log_mel = normalized(log_mel, valid, count[:, None, None], lost_degrees=1)
        log_mel = log_mel.masked_fill(~valid, self.padding_value)
        # Pad to an even number of frames, as the extractor does for any stride, then drop incomplete stacks.
        frames = log_mel.shape[1] + log_mel.shape[1] % 2
        log_mel = F.pad(log_mel, (0, 0, 0, frames - log_mel.shape[1]), value=self.padding_value)
        frames -= frames % self.stride
        stacked = log_mel[:, :frames].unflatten(1, (-1, self.stride)).flatten(2)
        # A stacked frame is valid if its second mel frame is. For a stride of 1, the extractor returns an empty mask.
        mask = is_valid(count, frames)[:, 1 :: self.stride] if self.stride > 1 else valid[:, :0, 0]
        return {"input_features": stacked, "attention_mask": mask.long()}


class Wav2Vec2Bert(Family):
    """Wav2Vec2-BERT normalizes each mel bin over the frames of a clip, so it needs several frames."""

    model_types = ("wav2vec2-bert",)
    frontend = StackedMelSettings
    masks_padding = True
    feature_encoder = ("feature_projection",)

    def invalid_setting(self, config: PreTrainedConfig) -> str | None:
        """See the base class; the model gets whole mel frames."""
        width = config.feature_projection_input_dim
        if not is_size(width) or width % _MEL_BINS:
            return "feature_projection_input_dim"
        return super().invalid_setting(config)

    def min_samples(self, config: PreTrainedConfig, rate_hz: int) -> int:
        """See the base class."""
        hop = round(MEL_HOP_S * rate_hz)
        return super().min_samples(config, rate_hz) + hop * (max(span_frames(config), 2) * _stride(config) - 1)

    def parts_behind_layers(self, config: PreTrainedConfig) -> tuple[str, ...]:
        """See the base class."""
        return ("adapter", "intermediate_ffn")

    def default_frontend(self, config: PreTrainedConfig) -> StackedMelSettings:
        """See the base class."""
        return StackedMelSettings(stride=_stride(config))


def _stride(config: PreTrainedConfig) -> int:
    """Return the number of mel frames stacked into one."""
    return int(config.feature_projection_input_dim // _MEL_BINS)
