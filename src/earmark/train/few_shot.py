"""``--few_shot``: fit the head of a model by a regression on embeddings, in seconds.

The embeddings of a pretrained model (:mod:`earmark.models.embedding`) are computed once. The weights of the regression
(:mod:`earmark.tasks.linear_fits`) become the head of the model, so the saved model is an ordinary checkpoint.

Shapes: N clips, D width of an embedding, C classes or labels; C is 1 for a regression.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from earmark.clips.clip import ClipTable
from earmark.clips.splits import count_groups, make_folds
from earmark.clips.targets import table_targets
from earmark.errors import ModelError, UsageError
from earmark.models.embedding import EmbeddingModel, has_embedding
from earmark.scoring.clip_windows import WindowsOfClips
from earmark.scoring.table import score_table_with
from earmark.scoring.torch_scorer import HALF_DTYPES, TorchScorer, fast_dtype
from earmark.store.usable import UsableClips
from earmark.tasks import pool
from earmark.tasks.linear_fits import FittedHead
from earmark.tasks.task import LinearProblem
from earmark.text import and_more, with_article

if TYPE_CHECKING:
    from earmark.models.build_model import AudioModel
    from earmark.train.arguments import EarmarkTrainingArguments

logger = logging.getLogger(__name__)

_FOLDS = 5


def check_head(audio: AudioModel) -> None:
    """Check that the head of a model can be fitted, before an earlier run is replaced.

    Raises:
        ModelError: the model has no embedding, or its head is not linear.
    """
    if not has_embedding(audio.model):
        raise ModelError(
            "--few_shot: the head of this model uses a learned sum of all layers (use_weighted_layer_sum), so a clip "
            "has no single embedding. Train without --few_shot."
        )
    if audio.family.projector(audio.model) is None:
        _linear_part(audio)


def check_classes(train: ClipTable) -> None:
    """Check that there is a clip of every class, before an earlier run is replaced.

    Raises:
        UsageError: fewer clips than classes were drawn.
    """
    if train.not_drawn:
        raise UsageError(
            f"--few_shot needs a training clip of every class, but --max_train_samples {len(train)} leaves none of "
            f"{and_more([repr(name) for name in train.not_drawn])}. Use --shots N instead, the clips of each class."
        )


def fit_few_shot(
    audio: AudioModel, args: EarmarkTrainingArguments, clips: UsableClips, precision: str = "fp32"
) -> FittedHead:
    """Fit the head of a model on embeddings of clips.

    Embeddings are standardised. The penalty of the regression is the one with the best cross-validated likelihood, so
    that probabilities are meaningful. The embedding of a clip longer than the model's limit is the mean over its
    windows. With several processes, each fits the same head.

    Args:
        audio: a model that passed :func:`check_head`.
        args: device, batch size, seed and class weights.
        clips: the clips to fit on.
        precision: number format of the embeddings: ``fp32``, ``bf16``, ``fp16``, or ``auto`` for bf16 on a device that
            computes faster in it. The head is fitted and saved in float32.

    Raises:
        DeviceError: the device computes the model wrongly in the precision.
    """
    model = audio.model.to(args.device)
    embeddings, precision = _embeddings(audio, args, clips, precision)
    embeddings = _before_linear(audio, embeddings)
    weights, bias, fitted = audio.task.fit_linear(
        LinearProblem(
            embeddings,
            table_targets(clips.table, audio.labels, audio.task),
            audio.labels,
            lambda: _folds(args, clips),
            balanced=args.class_weights == "balanced",
            seed=args.seed,
        )
    )
    if (unit := model.forward.unit) is not None:  # the head predicts standardised numbers until it is saved
        weights, bias = weights / unit[1], (bias - unit[0]) / unit[1]
    put_into_head(audio, weights, bias)
    fitted = replace(fitted, precision=precision)
    figure = fitted.cross_validated
    logger.info(
        "few shot: a head of %d x %d fitted on embeddings of %s clips in %s (%s), penalty C %g%s",
        *weights.shape,
        f"{len(embeddings):,}",
        precision,
        fitted.method,
        fitted.penalty_c,
        "" if figure is None else f", {fitted.title} {figure:.4f} across folds of these clips",
    )
    return fitted


def _folds(args: EarmarkTrainingArguments, clips: UsableClips) -> list[str]:
    """Return the fold of each clip. Groups and recordings are not split; folds are stratified by label."""
    count = min(_FOLDS, count_groups(clips.table))
    return make_folds(clips.table, count, args.seed)


def _embeddings(
    audio: AudioModel, args: EarmarkTrainingArguments, clips: UsableClips, precision: str
) -> tuple[np.ndarray, str]:
    """Return the embeddings of clips, float64 (N, D), and their precision."""
    windows = WindowsOfClips(clips.waveforms, audio.frontend.max_samples)
    scorer = TorchScorer(EmbeddingModel(audio.model), audio.frontend, args.device)
    with scorer.session():  # keeps cast and packed weights from the check to the scores
        if precision == "auto":
            scorer.dtype = fast_dtype(scorer)
            precision = "fp32" if scorer.dtype is None else "bf16"
        else:
            scorer.dtype = HALF_DTYPES.get(precision)
        rows = score_table_with(scorer, windows, batch_size=args.per_device_eval_batch_size, what="embedding")
    return pool(rows, windows.starts), precision


def _before_linear(audio: AudioModel, embeddings: np.ndarray) -> np.ndarray:
    """Return the inputs of the linear layer of a head, float64 (N, D)."""
    norm = audio.family.classifier_norm(audio.model)
    if norm is None:
        return embeddings
    with torch.inference_mode():
        weight = next(norm.parameters())
        given = torch.from_numpy(embeddings).to(weight.dtype).to(weight.device)
        normed: np.ndarray = norm(given).cpu().double().numpy()  # Apple's MPS has no float64
    return normed


def put_into_head(audio: AudioModel, weights: np.ndarray, bias: np.ndarray) -> None:
    """Replace the head of a classifier by a linear map.

    A head with a projection gets the map as a projection of width C, followed by an identity.

    Args:
        audio: classifier.
        weights: (C, D).
        bias: (C,).
    """
    model = audio.model
    projector = audio.family.projector(model)
    if projector is not None:
        model.projector = _linear(weights, bias, projector.weight)
        model.classifier = _linear(np.eye(len(bias)), np.zeros(len(bias)), model.classifier.weight)
        model.config.classifier_proj_size = len(bias)
        return
    _fill(_linear_part(audio), weights, bias)


def _linear_part(audio: AudioModel) -> torch.nn.Linear:
    """Return the layer from embeddings to logits of a head without a projection."""
    head = audio.family.last_layer(audio.model)
    if not isinstance(head, torch.nn.Linear):
        kind = type(audio.model).__name__
        raise ModelError(f"--few_shot: the head of {with_article(kind)} is not linear. Train without --few_shot.")
    return head


def _linear(weights: np.ndarray, bias: np.ndarray, like: torch.Tensor) -> torch.nn.Linear:
    layer = torch.nn.Linear(weights.shape[1], weights.shape[0], device=like.device, dtype=like.dtype)
    return _fill(layer, weights, bias)


def _fill(layer: torch.nn.Linear, weights: np.ndarray, bias: np.ndarray) -> torch.nn.Linear:
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights))
        layer.bias.copy_(torch.from_numpy(bias))
    return layer
