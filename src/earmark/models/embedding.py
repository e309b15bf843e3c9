"""One vector a clip: what the body of a classifier makes of it, averaged over time, and the head on top of it.

The split lies where nothing behind it depends on time any more. Heads that project each frame before averaging give the
same logits when the average is projected instead, since both are linear.

Shapes: B batch, T samples, F frames, D width, C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers.modeling_outputs import SequenceClassifierOutput

from earmark.families.family_registry import find_family

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def has_embedding(model: PreTrainedModel) -> bool:
    """Whether the classifier can be split so: all but those that learn a weighted sum of their layers."""
    return not find_family(model.config).sums_layers(model.config)


class EmbeddingModel:
    """Gives embeddings where a classifier gives logits; for the loop that scores."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model

    def __call__(self, **inputs: object) -> SequenceClassifierOutput:
        """Embeddings (B, D) under the name of logits."""
        return SequenceClassifierOutput(logits=self.model(**inputs, stop_at="embeddings"))

    def __getattr__(self, name: str) -> object:
        return getattr(self.model, name)


def classify_all(model: PreTrainedModel, embeddings: np.ndarray, device: torch.device) -> np.ndarray:
    """Logits float32 (N, C) of embeddings (N, D), by the head in evaluation mode, as the model answers."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            rows = [
                model(embeddings=torch.from_numpy(part).to(device)).logits.cpu().numpy()
                for part in np.array_split(embeddings, max(1, len(embeddings) // 1024))
            ]
    finally:
        model.train(was_training)
    return np.concatenate(rows)
