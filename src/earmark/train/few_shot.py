"""``--few_shot``: the head of a classifier by logistic regression on embeddings, in seconds instead of epochs.

The embeddings of a pretrained model (:mod:`earmark.models.embedding`) are computed once; what the regression finds is
put into the model's own head, so that what is saved is a checkpoint like any other.

Shapes: N clips, D width of an embedding, C classes.
"""

from __future__ import annotations

import logging
import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from earmark.config import ModelArguments
from earmark.data.usable import UsableClips
from earmark.errors import DataError, ModelError, UsageError
from earmark.models.embedding import EmbeddingModel, has_embedding
from earmark.runs.judged import targets_of
from earmark.scoring.calibration import WindowsOfClips
from earmark.scoring.table import score_table

if TYPE_CHECKING:
    from earmark.train.trainer import AudioTrainer

logger = logging.getLogger(__name__)

_STRENGTHS = tuple(10.0**power for power in (-4, -3, -2, -1, 0, 1))  # of scikit-learn's C: the inverse of the penalty
_WITHOUT_FOLDS = 0.1  # where a class has one clip only
_FOLDS = 5
_MOST_TRIED = 5000  # clips that the penalty is chosen on
_ITERATIONS = 2000
# settings of a training that there is none of, and what they are without it
_OF_TRAINING = {
    "ema": None,
    "lora": None,
    "layer_decay": None,
    "augment": None,
    "focal_gamma": 0.0,
    "sampler": "random",
}


def check_few_shot(model: ModelArguments, training: Any) -> None:
    """See that ``--few_shot`` can be done as asked, before anything is decoded.

    Raises:
        UsageError: no pretrained weights, or flags that mean nothing to it.
    """
    if not model.model_name_or_path:
        raise UsageError("--few_shot: needs a pretrained or trained model; name one with --model_name_or_path")
    for name, without in _OF_TRAINING.items():
        if getattr(training, name, without) != without:
            raise UsageError(f"--few_shot: no epochs are trained, so --{name} does nothing; leave one of them out")
    if training.class_weights not in (None, "balanced"):
        raise UsageError(f"--few_shot: knows --class_weights balanced, not {training.class_weights}")


def fit_few_shot(trainer: AudioTrainer, clips: UsableClips) -> None:
    """Fit the head of the trainer's model on embeddings of clips.

    Embeddings are standardised, and the penalty of the regression is chosen by cross-validation over the clips, by the
    log-likelihood, so that probabilities are worth something too. What is longer than the model hears counts as the
    mean of its windows.

    Raises:
        ModelError: a model without an embedding, or whose head is not linear.
        DataError: one class only.
    """
    began_s = time.perf_counter()
    audio, args = trainer.audio, trainer.args
    if not has_embedding(audio.model):
        raise ModelError(
            "--few_shot: the head of this model takes a learned sum of all layers (use_weighted_layer_sum), so there "
            "is no one embedding of a clip"
        )
    targets = targets_of(clips.table, audio.labels)
    if len(audio.labels) < 2:
        raise DataError(f"{clips.table.origin}: all clips are {audio.labels[0]!r}; there is nothing to tell apart")
    windows = WindowsOfClips(clips.waveforms, audio.frontend.max_samples)
    model = audio.model.to(args.device).eval()
    rows = score_table(
        EmbeddingModel(model),
        audio.frontend,
        windows,
        batch_size=args.per_device_eval_batch_size,
        device=args.device,
        what="embedding",
    )
    counts = np.diff([*windows.starts, len(rows)])
    embeddings = np.add.reduceat(rows.astype(np.float64), windows.starts, axis=0) / counts[:, None]
    normed = _before_linear(model, embeddings)
    weights, bias, strength = fit_linear(normed, targets, balanced=args.class_weights == "balanced", seed=args.seed)
    put_into_head(model, weights, bias)
    trainer.training_s = time.perf_counter() - began_s
    trainer.trained_clips = len(targets)
    logger.info("few shot: a head of %d x %d on %s clips, penalty C %g", *weights.shape, f"{len(targets):,}", strength)


def fit_linear(
    embeddings: np.ndarray, targets: np.ndarray, *, balanced: bool = False, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, float]:
    """Multinomial logistic regression on standardised embeddings.

    Args:
        embeddings: float64 (N, D).
        targets: int (N,), every class from 0 to C - 1 at least once.
        balanced: whether every class counts the same, however many clips it has.
        seed: of the folds that choose the penalty.

    Returns:
        ``(weights, bias, strength)``: float64 (C, D) and (C,), for embeddings as they come, and scikit-learn's C.
    """
    strength = _choose_strength(embeddings, targets, balanced, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = _regression(strength, balanced).fit(embeddings, targets)
    scaler, regression = fitted[0], fitted[1]
    weights, bias = regression.coef_, regression.intercept_
    if len(weights) == 1:  # of two classes scikit-learn has the second's log-odds
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    weights = weights / scaler.scale_
    return weights, bias - weights @ scaler.mean_, strength


def _regression(strength: float, balanced: bool) -> Any:
    kind = "balanced" if balanced else None
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, class_weight=kind, max_iter=_ITERATIONS))


def _choose_strength(embeddings: np.ndarray, targets: np.ndarray, balanced: bool, seed: int) -> float:
    fewest = int(np.bincount(targets).min())
    if fewest < 2:
        return _WITHOUT_FOLDS
    if len(targets) > _MOST_TRIED:
        chosen = np.random.default_rng(seed).permutation(len(targets))[:_MOST_TRIED]
        if np.bincount(targets[chosen], minlength=targets.max() + 1).min() >= 2:
            embeddings, targets = embeddings[chosen], targets[chosen]
            fewest = int(np.bincount(targets).min())
    folds = StratifiedKFold(min(_FOLDS, fewest), shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        scores = [
            cross_val_score(_regression(one, balanced), embeddings, targets, cv=folds, scoring="neg_log_loss").mean()
            for one in _STRENGTHS
        ]
    return _STRENGTHS[int(np.argmax(scores))]


def _before_linear(model: Any, embeddings: np.ndarray) -> np.ndarray:
    """What the linear part of a head gets, float64 (N, D): of AST, behind the head's norm."""
    norm = getattr(model.classifier, "layernorm", None)
    if norm is None:
        return embeddings
    with torch.inference_mode():
        given = torch.from_numpy(embeddings).to(norm.weight)
        normed: np.ndarray = norm(given).double().cpu().numpy()
    return normed


def put_into_head(model: Any, weights: np.ndarray, bias: np.ndarray) -> None:
    """Make a linear map the head of a classifier, exactly.

    Heads that project before they classify get the map as their projection, of a width of C, and an identity behind it.

    Args:
        model: classifier.
        weights: (C, D).
        bias: (C,).

    Raises:
        ModelError: a head of another make.
    """
    if hasattr(model, "projector"):
        model.projector = _linear(weights, bias, model.projector.weight)
        model.classifier = _linear(np.eye(len(bias)), np.zeros(len(bias)), model.classifier.weight)
        model.config.classifier_proj_size = len(bias)
        return
    head = getattr(model.classifier, "dense", model.classifier)
    if not isinstance(head, torch.nn.Linear) or head.weight.shape != weights.shape:
        raise ModelError(f"--few_shot: the head of a {type(model).__name__} is not linear")
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weights))
        head.bias.copy_(torch.from_numpy(bias))


def _linear(weights: np.ndarray, bias: np.ndarray, like: torch.Tensor) -> torch.nn.Linear:
    layer = torch.nn.Linear(weights.shape[1], weights.shape[0], device=like.device, dtype=like.dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights))
        layer.bias.copy_(torch.from_numpy(bias))
    return layer
