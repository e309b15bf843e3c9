"""Create scorers, which the scoring loop calls, from a loaded model: for predictions and for embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from earmark.device import select_device, supports_bf16
from earmark.errors import ModelError, UsageError
from earmark.export.load_export import ExportedModel, ExportedScorer
from earmark.scoring.inference import Scorer

if TYPE_CHECKING:
    from earmark.models.build_model import AudioModel
    from earmark.scoring.torch_scorer import TorchScorer

_DTYPES = {"fp32": None, "bf16": "bfloat16", "fp16": "float16"}  # precision -> name of a dtype of torch


def make_scorer(audio: AudioModel | ExportedModel, device: str, precision: str) -> Scorer:
    """Return a scorer of a model on a device.

    Another device and half precision get a copy of the model, because other scorers may use the model.

    Raises:
        UsageError: unknown precision, or a precision for an export.
        DeviceError: the device does not exist.
    """
    if precision not in _DTYPES:
        raise UsageError(f"precision {precision}: unknown precision. Choose one of {', '.join(_DTYPES)}")
    if isinstance(audio, ExportedModel):
        if precision != "fp32":
            raise UsageError(f"precision {precision}: {audio.folder} is an export with a fixed precision. Remove it")
        return audio.scorer(device)
    import torch

    from earmark.models.forward import cast_copy, copy_on
    from earmark.scoring.torch_scorer import TorchScorer

    place = select_device(device)
    model, frontend = audio.model.eval(), audio.frontend
    if next(model.parameters()).device != place:
        model = copy_on(model, place)
        frontend = frontend.with_limits(frontend.min_samples, frontend.max_samples)  # its tensors move to the device
    if (dtype := _DTYPES[precision]) is not None:
        model = cast_copy(model, getattr(torch, dtype))
    model.forward.sessions.keeps_packs = True  # the model only predicts
    return TorchScorer(model, frontend, place)


def make_embedder(
    audio: AudioModel | ExportedModel, device: str, precision: str, name: object
) -> tuple[TorchScorer, str]:
    """Return a scorer of embeddings and its precision; see :func:`make_scorer` and :func:`embedding_scorer`.

    Args:
        audio: the model.
        device: value of ``--device``.
        precision: value of ``--precision``; ``auto`` is bf16 if the device multiplies it faster than float32 and
            :func:`~earmark.scoring.torch_scorer.is_right_for_noise`, else fp32.
        name: name of the model, for the error message.
    """
    if precision != "auto":
        return embedding_scorer(make_scorer(audio, device, precision), name), precision
    # The copy keeps its packed weights from the check to the first clip.
    if not isinstance(audio, ExportedModel) and supports_bf16(select_device(device)):
        from earmark.scoring.torch_scorer import is_right_for_noise

        scorer = embedding_scorer(make_scorer(audio, device, "bf16"), name)
        if is_right_for_noise(scorer):
            return scorer, "bf16"
    return make_embedder(audio, device, "fp32", name)


def embedding_scorer(scorer: Scorer, name: object) -> TorchScorer:
    """Return a scorer whose rows are embeddings instead of logits.

    Args:
        scorer: scorer of a torch model.
        name: name of the model, for the error message.

    Raises:
        ModelError: the model is an export, or its head uses a learned sum of layers.
    """
    if isinstance(scorer, ExportedScorer):
        raise ModelError(f"{name}: an export has no embeddings. Use the model that it was exported from.")
    from earmark.models.embedding import EmbeddingModel, has_embedding
    from earmark.scoring.torch_scorer import TorchScorer

    assert isinstance(scorer, TorchScorer)
    if not has_embedding(scorer.model):
        raise ModelError(
            f"{name}: its head uses a learned sum of all layers (use_weighted_layer_sum), so "
            "it has no single embedding. Use another model"
        )
    return TorchScorer(EmbeddingModel(scorer.model), scorer.frontend, scorer.device)
