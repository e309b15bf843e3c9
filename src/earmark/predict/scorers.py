"""Create scorers, which the scoring loop calls, from a loaded model: for predictions and for embeddings."""

from __future__ import annotations

import torch

from earmark.device import select_device
from earmark.errors import ModelError, UsageError
from earmark.export.load_export import ExportedModel
from earmark.models.build_model import AudioModel
from earmark.models.embedding import EmbeddingModel, has_embedding
from earmark.models.forward import cast_in_place
from earmark.scoring.inference import Scorer, TorchScorer

DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def make_scorer(audio: AudioModel | ExportedModel, device: str, precision: str) -> Scorer:
    """Move a model to its device and precision.

    Raises:
        UsageError: unknown precision, or a precision for an export.
        DeviceError: the device does not exist.
    """
    if precision not in DTYPES:
        raise UsageError(f"precision {precision}: unknown precision. Choose one of {', '.join(DTYPES)}")
    if isinstance(audio, ExportedModel):
        if precision != "fp32":
            raise UsageError(f"precision {precision}: {audio.folder} is an export with a fixed precision. Remove it")
        return audio.scorer(device)
    place = select_device(device)
    model = audio.model.to(place).eval()
    if (dtype := DTYPES[precision]) is not None:
        cast_in_place(model, dtype)
    return TorchScorer(model, audio.frontend, place)


def embedding_scorer(scorer: Scorer, name: object) -> TorchScorer:
    """Return a scorer whose rows are embeddings instead of logits.

    Args:
        scorer: scorer of a torch model.
        name: name of the model, for the error message.

    Raises:
        ModelError: the model is an export, or its head uses a learned sum of layers.
    """
    if not isinstance(scorer, TorchScorer):
        raise ModelError(f"{name}: an export has no embeddings. Use the model that it was exported from.")
    if not has_embedding(scorer.model):
        raise ModelError(
            f"{name}: its head uses a learned sum of all layers (use_weighted_layer_sum), so "
            "it has no single embedding. Use another model"
        )
    return TorchScorer(EmbeddingModel(scorer.model), scorer.frontend, scorer.device)
