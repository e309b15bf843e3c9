"""``--few_shot``: the head of a classifier by logistic regression on embeddings, in seconds instead of epochs.

The embeddings of a pretrained model (:mod:`earmark.models.embedding`) are computed once; what the regression finds is
put into the model's own head, so that what is saved is a checkpoint like any other.

Shapes: N clips, D width of an embedding, C classes.
"""

from __future__ import annotations

import logging
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from earmark.data.targets import targets_of
from earmark.data.usable import UsableClips
from earmark.errors import ModelError, UsageError
from earmark.models.embedding import EmbeddingModel, has_embedding
from earmark.scoring.calibration import WindowsOfClips
from earmark.scoring.table import score_table
from earmark.tasks import Task

if TYPE_CHECKING:
    from earmark.models.build import AudioModel
    from earmark.train.trainer import AudioTrainer

logger = logging.getLogger(__name__)

_STRENGTHS = tuple(10.0**power for power in (-4, -3, -2, -1, 0, 1))  # of scikit-learn's C: the inverse of the penalty
_WITHOUT_FOLDS = 0.1  # where a class has one clip only
_FOLDS = 5
_MOST_TRIED = 5000  # clips that the penalty is chosen on
_ITERATIONS = 2000


@dataclass(frozen=True)
class FittedHead:
    """What came of fitting a head.

    Attributes:
        clips: fitted on.
        penalty_c: scikit-learn's C, the inverse of the penalty.
        cross_validated_accuracy: over folds of these clips, at that penalty; it was chosen there, by the likelihood, so
            this is a little on the high side. ``None`` where a class has one clip only.
    """

    clips: int
    penalty_c: float
    cross_validated_accuracy: float | None


def check_head(audio: AudioModel) -> None:
    """See that the head of a model can be fitted, before an earlier run is replaced.

    Raises:
        ModelError: a model without an embedding, or whose head is not linear.
        UsageError: a task that has no single class for each clip.
    """
    if not has_embedding(audio.model):
        raise ModelError(
            "--few_shot: the head of this model takes a learned sum of all layers (use_weighted_layer_sum), so there "
            "is no one embedding of a clip"
        )
    if audio.task is not Task.SINGLE_LABEL:
        raise UsageError("--few_shot: is for clips of one class each; leave it out to train on other tasks")
    if not hasattr(audio.model, "projector"):
        _linear_part(audio.model)


def fit_few_shot(trainer: AudioTrainer, clips: UsableClips) -> None:
    """Fit the head of the trainer's model on embeddings of clips.

    Embeddings are standardised, and the penalty of the regression is chosen by cross-validation over the clips, by the
    log-likelihood, so that probabilities are worth something too. What is longer than the model hears counts as the
    mean of its windows. Where there are several processes, each fits the same.

    Args:
        trainer: with a model that passed :func:`check_head`.
        clips: to fit on.
    """
    began_s = time.perf_counter()
    audio, args = trainer.audio, trainer.args
    model = audio.model.to(args.device)
    targets = targets_of(clips.table, audio.labels)
    embeddings = _before_linear(model, _embeddings(trainer, clips))
    weights, bias, fitted = fit_linear(embeddings, targets, balanced=args.class_weights == "balanced", seed=args.seed)
    put_into_head(model, weights, bias)
    trainer.fitted_head = fitted
    trainer.training_s = time.perf_counter() - began_s
    trainer.trained_clips = len(targets)
    accuracy = fitted.cross_validated_accuracy
    logger.info(
        "few shot: a head of %d x %d fitted on %s clips, penalty C %g%s",
        *weights.shape,
        f"{len(targets):,}",
        fitted.penalty_c,
        "" if accuracy is None else f", accuracy {accuracy:.4f} across folds of these clips",
    )


def _embeddings(trainer: AudioTrainer, clips: UsableClips) -> np.ndarray:
    """Of clips, float64 (N, D)."""
    audio, args = trainer.audio, trainer.args
    windows = WindowsOfClips(clips.waveforms, audio.frontend.max_samples)
    rows = score_table(
        EmbeddingModel(audio.model),
        audio.frontend,
        windows,
        batch_size=args.per_device_eval_batch_size,
        device=args.device,
        what="embedding",
    )
    counts = np.diff([*windows.starts, len(rows)])
    means: np.ndarray = np.add.reduceat(rows.astype(np.float64), windows.starts, axis=0) / counts[:, None]
    return means


def fit_linear(
    embeddings: np.ndarray, targets: np.ndarray, *, balanced: bool = False, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, FittedHead]:
    """Multinomial logistic regression on standardised embeddings.

    Args:
        embeddings: float64 (N, D).
        targets: int (N,), every class from 0 to C - 1 at least once.
        balanced: whether every class counts the same, however many clips it has.
        seed: of the folds that choose the penalty.

    Returns:
        ``(weights, bias, fitted)``: float64 (C, D) and (C,), for embeddings as they come.
    """
    strength, accuracy = _choose_strength(embeddings, targets, balanced, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = _regression(strength, balanced).fit(embeddings, targets)
    scaler, regression = fitted[0], fitted[1]
    weights, bias = regression.coef_, regression.intercept_
    if len(weights) == 1:  # of two classes scikit-learn has the second's log-odds
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    weights = weights / scaler.scale_
    return weights, bias - weights @ scaler.mean_, FittedHead(len(targets), strength, accuracy)


def _regression(strength: float, balanced: bool) -> Any:
    kind = "balanced" if balanced else None
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, class_weight=kind, max_iter=_ITERATIONS))


def _choose_strength(
    embeddings: np.ndarray, targets: np.ndarray, balanced: bool, seed: int
) -> tuple[float, float | None]:
    """The penalty that is best across folds, and the accuracy there."""
    if len(targets) > _MOST_TRIED:
        chosen = np.random.default_rng(seed).permutation(len(targets))[:_MOST_TRIED]
        if np.bincount(targets[chosen], minlength=targets.max() + 1).min() >= 2:
            embeddings, targets = embeddings[chosen], targets[chosen]
    fewest = int(np.bincount(targets).min())
    if fewest < 2:
        return _WITHOUT_FOLDS, None
    folds = StratifiedKFold(min(_FOLDS, fewest), shuffle=True, random_state=seed)
    figures = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for one in _STRENGTHS:
            tried = cross_validate(
                _regression(one, balanced), embeddings, targets, cv=folds, scoring=("neg_log_loss", "accuracy")
            )
            figures[one] = tried["test_neg_log_loss"].mean(), float(tried["test_accuracy"].mean())
    best = max(_STRENGTHS, key=lambda one: figures[one][0])
    return best, figures[best][1]


def _before_linear(model: Any, embeddings: np.ndarray) -> np.ndarray:
    """What the linear part of a head gets, float64 (N, D): of AST, behind the head's norm."""
    norm = getattr(model.classifier, "layernorm", None)
    if norm is None:
        return embeddings
    with torch.inference_mode():
        given = torch.from_numpy(embeddings).to(norm.weight.dtype).to(norm.weight.device)
        normed: np.ndarray = norm(given).cpu().double().numpy()  # Apple's MPS has no float64
    return normed


def put_into_head(model: Any, weights: np.ndarray, bias: np.ndarray) -> None:
    """Make a linear map the head of a classifier, exactly.

    Heads that project before they classify get the map as their projection, of a width of C, and an identity behind it.

    Args:
        model: classifier.
        weights: (C, D).
        bias: (C,).

    """
    if hasattr(model, "projector"):
        model.projector = _linear(weights, bias, model.projector.weight)
        model.classifier = _linear(np.eye(len(bias)), np.zeros(len(bias)), model.classifier.weight)
        model.config.classifier_proj_size = len(bias)
        return
    _fill(_linear_part(model), weights, bias)


def _linear_part(model: Any) -> torch.nn.Linear:
    """The layer from embeddings to logits, of a head without a projection; AST's has a norm in front of it."""
    head = getattr(model.classifier, "dense", model.classifier)
    if not isinstance(head, torch.nn.Linear):
        raise ModelError(f"--few_shot: the head of a {type(model).__name__} is not linear")
    return head


def _linear(weights: np.ndarray, bias: np.ndarray, like: torch.Tensor) -> torch.nn.Linear:
    layer = torch.nn.Linear(weights.shape[1], weights.shape[0], device=like.device, dtype=like.dtype)
    return _fill(layer, weights, bias)


def _fill(layer: torch.nn.Linear, weights: np.ndarray, bias: np.ndarray) -> torch.nn.Linear:
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights))
        layer.bias.copy_(torch.from_numpy(bias))
    return layer
