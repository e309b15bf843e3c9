"""Whisper's encoder: built for 30 s, and cut to the clip.

Its position table is fixed for each position, so a shorter model is the same model with the first positions of the
table; a clip of 1 s then costs 1 s.
"""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from earmark.families.base import Family, Recipe

_FRAMES_PER_POSITION = 2  # the second convolution has stride 2
_FRAMES_PER_SECOND = 100


class Whisper(Family):
    """The encoder and a head; its extractor knows whole seconds only."""

    model_types = ("whisper",)
    takes_one_length = True
    masks_padding = True
    feature_encoder = ("conv1", "conv2")
    norm_behind = "layer_norm"
    # OpenAI's Whisper encoder cut to 1 s on Speech Commands: 0.972 validation accuracy after 332 steps at this rate;
    # the recipe of docs/accuracy.md, with augmentation, has 0.987 after 664
    pretrained = Recipe(1e-4, 32, 500)

    def native_length_s(self, config: Any, extractor: Any) -> float | None:
        """See the base class."""
        frames = config.max_source_positions * _FRAMES_PER_POSITION
        return float(frames * extractor.hop_length / extractor.sampling_rate)

    def possible_length_s(self, config: Any, extractor: Any, length_s: float) -> float:
        """See the base class."""
        native_s = self.native_length_s(config, extractor)
        assert native_s is not None
        return float(min(math.ceil(length_s), round(native_s)))

    def cut(self, model: Any, extractor: Any, length_s: float) -> Any:
        """See the base class."""
        seconds = round(length_s)
        positions = seconds * extractor.sampling_rate // extractor.hop_length // _FRAMES_PER_POSITION
        encoder = model.get_submodule("encoder")
        table = encoder.embed_positions.weight.detach()[:positions].clone()  # (positions, width)
        encoder.embed_positions = nn.Embedding.from_pretrained(table, freeze=True)
        encoder.max_source_positions = positions
        model.config.max_source_positions = positions
        return type(extractor).from_dict({**extractor.to_dict(), "chunk_length": seconds})

    def restore_length(self, config: Any, other: Any) -> None:
        """See the base class."""
        config.max_source_positions = other.max_source_positions

    def default_extractor(self, config: Any) -> Any:
        """See the base class."""
        from transformers import WhisperFeatureExtractor

        seconds = config.max_source_positions * _FRAMES_PER_POSITION // _FRAMES_PER_SECOND
        return WhisperFeatureExtractor(feature_size=config.num_mel_bins, chunk_length=seconds)

    def body(self, model: Any) -> Any:
        """See the base class."""
        return model.encoder
