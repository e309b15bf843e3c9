"""Split a classifier into its head and what gives embeddings: the body and an average over time.

Heads that project each frame before averaging give the same logits if the average is projected instead, because both
steps are linear.

Shapes: B batch, T samples, F frames, D width, C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from earmark.families.plain_model import PlainOutput

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def has_embedding(model: PreTrainedModel) -> bool:
    """Return whether a classifier can be split: all except those with a learned sum of layers."""
    return not model.forward.family.sums_layers(model.config)


class EmbeddingModel:
    """A model for the inference loop that returns embeddings in place of logits."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model

    def __call__(self, **inputs: object) -> PlainOutput:
        """Return embeddings (B, D) as ``logits``."""
        return PlainOutput(logits=self.model(**inputs, stop_at="embeddings"))

    def __getattr__(self, name: str) -> object:
        return getattr(self.model, name)


def classify_all(model: PreTrainedModel, embeddings: np.ndarray, device: torch.device) -> np.ndarray:
    """Return logits float32 (N, C) of embeddings (N, D) from the head in evaluation mode."""
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
