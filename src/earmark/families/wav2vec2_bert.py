"""Wav2Vec2-BERT: mel frames, several of them stacked into one, and a conformer."""

from __future__ import annotations

from typing import Any

from earmark.families.base import MEL_HOP_S, Family, span_frames

_MEL_BINS = 80


class Wav2Vec2Bert(Family):
    """It normalises each mel bin over the frames of a clip, and so needs a few of them."""

    model_types = ("wav2vec2-bert",)
    masks_padding = True
    feature_encoder = ("feature_projection",)

    def min_samples(self, config: Any, rate_hz: int) -> int:
        """See the base class."""
        hop = round(MEL_HOP_S * rate_hz)
        return super().min_samples(config, rate_hz) + hop * (max(span_frames(config), 2) * _stride(config) - 1)

    def default_extractor(self, config: Any) -> Any:
        """See the base class."""
        from transformers import SeamlessM4TFeatureExtractor

        return SeamlessM4TFeatureExtractor(stride=_stride(config))


def _stride(config: Any) -> int:
    """Mel frames stacked into one."""
    return int(config.feature_projection_input_dim // _MEL_BINS)
