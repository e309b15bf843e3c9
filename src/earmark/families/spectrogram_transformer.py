"""AST, the audio spectrogram transformer: built for 10.24 s, and cut to the length of the clips.

AST has a learned position embedding for each patch. Cutting the model keeps the first columns of the table of
positions, and all other weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from earmark.families.family import MEL_HOP_S, Family, Recipe
from earmark.families.features import is_valid
from earmark.families.frontend_settings import FrontendSettings, with_settings
from earmark.families.fused import linears_before_gelu
from earmark.families.kaldi import FRAME, KaldiFeatures
from earmark.families.spectra import hann

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_WINDOW_S = 0.025  # frame of Kaldi's filter bank


@dataclass(frozen=True)
class SpectrogramSettings(FrontendSettings):
    """Kaldi's filter banks, zero-padded or cut to one length, then normalized with statistics of the data set.

    Attributes:
        num_mel_bins: number of mel bins.
        max_length: length in frames.
        do_normalize: whether to normalize with ``mean`` and ``std``.
        mean: mean of AudioSet's log-mel values.
        std: the values are divided by twice this number.
    """

    extractor_type = "ASTFeatureExtractor"

    num_mel_bins: int = 128
    max_length: int = 1024
    do_normalize: bool = True
    mean: float = -4.2677393
    std: float = 4.5689974

    def features(self) -> SpectrogramFeatures:
        """See the base class."""
        return SpectrogramFeatures(self)


class SpectrogramFeatures(KaldiFeatures):
    """Returns ``input_values`` (B, F, M)."""

    def __init__(self, settings: SpectrogramSettings) -> None:
        super().__init__(settings.sampling_rate, settings.num_mel_bins, hann(FRAME, periodic=False))
        self.settings = settings

    def num_frames(self, num_samples: torch.Tensor) -> torch.Tensor:
        """See the base class."""
        return self.whole_frames(num_samples)

    def compute(self, samples: torch.Tensor, num_samples: torch.Tensor) -> dict[str, torch.Tensor]:
        """See the base class."""
        settings = self.settings
        log_mel = self.log_mel(samples)[:, : settings.max_length]
        valid = is_valid(self.num_frames(num_samples), log_mel.shape[1])
        log_mel = F.pad(log_mel * valid[..., None], (0, 0, 0, settings.max_length - log_mel.shape[1]))
        if settings.do_normalize:
            log_mel = (log_mel - settings.mean) / (settings.std * 2)
        return {"input_values": log_mel}


class SpectrogramTransformer(Family):
    """AST, whose input is patches of a mel spectrogram. A clip has at least one patch."""

    model_types = ("audio-spectrogram-transformer",)
    frontend = SpectrogramSettings
    takes_one_length = True
    masks_padding = True
    feature_encoder = ("embeddings.patch_embeddings",)
    # Higher than the authors' rate for ESC-50 and AudioSet (Gong et al. 2021, arXiv:2104.01778, 1e-5), because the head
    # is new.
    pretrained = Recipe(5e-5, 32, 800)

    def native_length_s(self, config: PreTrainedConfig, extractor: object) -> float | None:
        """Return the length that the authors give: 10.24 s for 1,024 frames."""
        return float(config.max_length * MEL_HOP_S)

    def possible_length_s(self, config: PreTrainedConfig, extractor: object, length_s: float) -> float:
        """See the base class."""
        return max(length_s, _frames(config, extractor, length_s) * MEL_HOP_S)

    def cut(self, model: PreTrainedModel, extractor: Any, length_s: float) -> Any:
        """See the base class."""
        config, frames = model.config, _frames(model.config, extractor, length_s)
        embeddings = model.get_submodule("audio_spectrogram_transformer.embeddings")
        rows, old_columns = embeddings.get_shape(config)
        config.max_length = frames
        columns = embeddings.get_shape(config)[1]
        table = embeddings.position_embeddings.detach()  # (1, 2 + rows * old_columns, width)
        special, grid = table[:, :2], table[:, 2:].reshape(1, rows, old_columns, -1)
        # The extractor pads at the end, so in training short clips used the first columns of the table.
        first = grid[:, :, :columns].reshape(1, rows * columns, -1)
        embeddings.position_embeddings = nn.Parameter(torch.cat([special, first], dim=1))
        return with_settings(extractor, max_length=frames)

    def restore_length(self, config: PreTrainedConfig, other: Any) -> None:
        """See the base class."""
        config.max_length = other.max_length

    def default_frontend(self, config: PreTrainedConfig) -> SpectrogramSettings:
        """See the base class."""
        return SpectrogramSettings(num_mel_bins=config.num_mel_bins, max_length=config.max_length)

    def activated_linears(self, model: Any) -> list[tuple[Any, Any]]:
        """See the base class."""
        return linears_before_gelu(self.layers(model))

    def parts_behind_layers(self, config: PreTrainedConfig) -> tuple[str, ...]:
        """See the base class."""
        return ("layernorm",)

    def classifier_norm(self, model: PreTrainedModel) -> nn.Module:
        """See the base class."""
        norm: nn.Module = model.classifier.layernorm
        return norm

    def last_layer(self, model: PreTrainedModel) -> object:
        """See the base class."""
        return model.classifier.dense

    def embeddings(self, model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """See the base class."""
        pooled: torch.Tensor = model.audio_spectrogram_transformer(**inputs).pooler_output
        return pooled


def _frames(config: PreTrainedConfig, extractor: Any, length_s: float) -> int:
    """Return the number of frames of a clip: at least one patch, and at most as many as the table has columns for."""
    samples = round(length_s * extractor.sampling_rate)
    window, hop = (round(s * extractor.sampling_rate) for s in (_WINDOW_S, MEL_HOP_S))
    return int(min(max(config.patch_size, 1 + max(0, samples - window) // hop), config.max_length))
