"""TC-ResNet, earmark's small network (:mod:`earmark.models.tc_resnet`), which includes its log-mel frontend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from earmark.families.family import Family, Recipe
from earmark.families.temporal_layers import PlainTCResNet, shortest_input

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

    from earmark.families.plain_model import PlainConfig


class TemporalResNet(Family):
    """TC-ResNet masks padding itself and takes unnormalized samples."""

    model_types = ("tc_resnet",)
    is_own = True
    imported_by_users = "earmark.models.tc_resnet"
    masks_padding = True
    feature_encoder = ("stem",)
    takes_float32 = True  # its log-mel frontend needs it
    normalizes_clips = False
    # At this learning rate, accuracy varies between evaluations, but less so with averaged weights (7 classes of 45
    # clips: 0.76 to 0.90 without, 0.91 to 0.93 with the average). Fine-tuning uses the same rate.
    from_scratch = pretrained = Recipe(4e-3, 32, 1000, ema=0.99)

    def plain_class(self, config: PlainConfig) -> type[PlainTCResNet]:
        """See the base class."""
        return PlainTCResNet

    def min_samples(self, config: PreTrainedConfig, rate_hz: int) -> int:
        """See the base class."""
        return shortest_input(config)

    def embeddings(self, model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """See the base class."""
        pooled: torch.Tensor = model.pooled(**inputs)
        return pooled

    def classify(self, model: PreTrainedModel, embeddings: torch.Tensor) -> torch.Tensor:
        """See the base class."""
        logits: torch.Tensor = model.classifier(model.dropout(embeddings))
        return logits
