"""One vector a clip: what the body of a classifier makes of it, averaged over time, and the head on top of it.

The split lies where nothing behind it depends on time any more. Heads that project each frame before averaging give the
same logits when the average is projected instead, since both are linear.

Shapes: B batch, T samples, F frames, D width, C classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers.modeling_outputs import SequenceClassifierOutput

from earmark.models import wav2vec2_family


def has_embedding(model: Any) -> bool:
    """Whether the classifier can be split so: all but those that learn a weighted sum of their layers."""
    return not getattr(model.config, "use_weighted_layer_sum", False)


def embed(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Embeddings (B, D) of model inputs, in the type of the weights.

    Args:
        model: classifier with this project's forward installed.
        inputs: what its frontend gave.
    """
    kind = model.config.model_type
    mask = inputs.get("attention_mask")
    if kind == "tc_resnet":
        pooled: torch.Tensor = model.pooled(**inputs)
        return pooled
    if kind == "audio-spectrogram-transformer":
        return model.audio_spectrogram_transformer(**inputs).pooler_output
    if wav2vec2_family.is_supported(model):
        num_samples = None if mask is None else mask.sum(dim=-1)
        return wav2vec2_family.Wav2Vec2FamilyForward(model).embeddings(inputs["input_values"], num_samples)
    body = model.encoder if kind == "whisper" else model.base_model
    hidden = body(**inputs)[0]  # (B, F, D)
    if mask is None:
        return hidden.mean(dim=1)
    valid = model._get_feature_vector_attention_mask(hidden.shape[1], mask)  # (B, F)
    return (hidden * valid[..., None]).sum(dim=1) / valid.sum(dim=1, keepdim=True)


class EmbeddingModel:
    """Gives embeddings where a classifier gives logits; for the loop that scores."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, **inputs: Any) -> SequenceClassifierOutput:
        """Embeddings (B, D) under the name of logits."""
        return SequenceClassifierOutput(logits=self.model(**inputs, stop_at="embeddings"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


def classify_all(model: Any, embeddings: np.ndarray, device: torch.device) -> np.ndarray:
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


def classify(model: Any, embeddings: torch.Tensor) -> torch.Tensor:
    """Logits (B, C) of embeddings (B, D): the head of ``model``."""
    head = model.classifier
    if model.config.model_type == "tc_resnet":
        embeddings = model.dropout(embeddings)
    elif hasattr(model, "projector"):
        embeddings = model.projector(embeddings)
    logits: torch.Tensor = head(embeddings)
    return logits
