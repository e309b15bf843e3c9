"""Choose the length of training from the number of clips and the model, if no length is given.

A fixed number of epochs would mean too few steps for a small data set: 3 epochs of 300 clips are 30 steps. So the
number of epochs follows from the steps that a model needs (:func:`earmark.train.recipe.training_needs`). It depends
only on the data, the model and the batch size, so a resumed run and all processes of a distributed run agree.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from earmark.settings.training_flags import TrainingArguments
from earmark.tasks.figures import metric_key
from earmark.text import counted
from earmark.train.recipe import Needs

logger = logging.getLogger(__name__)

T = TypeVar("T", bound=TrainingArguments)

FEWEST_EPOCHS = 3  # for a large data set, as in Transformers' example
# With a few dozen clips, more epochs would only make the model memorise them.
MOST_EPOCHS_PRETRAINED = 100
MOST_EPOCHS_FROM_SCRATCH = 200
# Evaluating and saving after each of 100 short epochs would take longer than training.
_EVALUATIONS = 20
# Training stops after this fraction of all evaluations without a better result. The learning rate falls to zero over
# the whole schedule, so a run that stops too soon never trains at a low rate, which costs accuracy unless the weights
# are averaged.
_PATIENCE, _PATIENCE_AVERAGED = 1 / 2, 1 / 3
_LEAST_PATIENCE = 3


@dataclass(frozen=True)
class Length:
    """The length of training.

    Attributes:
        epochs: passes over the training clips.
        steps: optimizer steps in these epochs.
        eval_epochs: epochs between two evaluations.
        reason: why this length was chosen, for the log.
    """

    epochs: int
    steps: int
    eval_epochs: int
    reason: str


def choose_length(num_clips: int, batch: int, steps_needed: int, *, pretrained: bool) -> Length:
    """Return enough epochs for ``steps_needed`` steps, at least 3, at most 100 (pretrained) or 200 (random weights).

    Args:
        num_clips: training clips.
        batch: clips in one optimizer step, over all processes and accumulated batches.
        steps_needed: see :func:`earmark.train.recipe.training_needs`.
        pretrained: whether the weights come from a checkpoint.
    """
    steps_per_epoch = math.ceil(num_clips / batch)
    wanted = math.ceil(steps_needed / steps_per_epoch)
    most = MOST_EPOCHS_PRETRAINED if pretrained else MOST_EPOCHS_FROM_SCRATCH
    epochs = min(max(wanted, FEWEST_EPOCHS), most)
    weights = "pretrained" if pretrained else "random"
    reason = f"{weights} weights need about {steps_needed:,} steps"
    if epochs > wanted:
        reason += f", and every clip is used at least {FEWEST_EPOCHS} times"
    elif epochs < wanted:
        reason += f", but with so few clips at most {most} epochs help"
    return Length(epochs, epochs * steps_per_epoch, max(1, epochs // _EVALUATIONS), reason)


def choose_patience(evaluations: float, *, averaged: bool) -> int:
    """Return the number of evaluations without a better result after which training stops.

    Args:
        evaluations: number of evaluations in the whole schedule.
        averaged: whether averaged weights are evaluated (``--ema``).
    """
    return max(_LEAST_PATIENCE, math.ceil((_PATIENCE_AVERAGED if averaged else _PATIENCE) * evaluations))


def with_length(
    training: T,
    num_clips: int,
    batch: int,
    needs: Needs,
    *,
    pretrained: bool,
    validates: bool,
) -> T:
    """Return settings with the given length of training, or choose a length and log it.

    Args:
        training: settings. If they have no ``num_train_epochs``, this function chooses it, and also ``eval_epochs``,
            ``early_stopping_patience`` and ``ema`` unless they are given.
        num_clips: training clips.
        batch: clips in one optimizer step.
        needs: length of training that the model needs.
        pretrained: whether the weights come from a checkpoint.
        validates: whether there are validation clips.
    """
    if training.num_train_epochs is not None:
        return training
    length = choose_length(num_clips, batch, needs.steps, pretrained=pretrained)
    changes: dict[str, Any] = {"num_train_epochs": float(length.epochs)}
    plan = f"{counted(length.epochs, 'epoch')} ({length.steps:,} steps of {counted(min(batch, num_clips), 'clip')})"
    if (what := _at_epoch_ends(training, validates=validates)) is not None and training.eval_epochs is None:
        changes["eval_epochs"] = length.eval_epochs
        plan += f", {what} every {length.eval_epochs} epochs" if length.eval_epochs > 1 else ""
    if needs.ema and training.ema is None and not (training.fsdp or training.deepspeed):
        changes["ema"] = needs.ema
        plan += f", averaged weights (--ema {needs.ema:g})"
    if validates and training.load_best_model_at_end and training.early_stopping_patience is None:
        evaluations = _evaluations(training, length, changes.get("eval_epochs", training.eval_epochs))
        patience = choose_patience(evaluations, averaged=bool(changes.get("ema", training.ema)))
        changes["early_stopping_patience"] = patience
        plan += f", early stopping after {patience} evaluations without a better result"
    logger.info("schedule: %s, because %s (to change it: --num_train_epochs or --max_steps)", plan, length.reason)
    return replace(training, **changes)


def _at_epoch_ends(training: T, *, validates: bool) -> str | None:
    """Return what happens every ``eval_epochs`` epochs: evaluations or only checkpoints; ``None`` for nothing."""
    if training.eval_strategy == IntervalStrategy.EPOCH:
        return "evaluation" if validates else None
    saves = training.eval_strategy == IntervalStrategy.NO and training.save_strategy == SaveStrategy.EPOCH
    return "checkpoint" if saves else None


def _evaluations(training: T, length: Length, eval_epochs: int | None) -> float:
    if training.eval_strategy == IntervalStrategy.EPOCH:
        return math.ceil(length.epochs / (eval_epochs or 1))
    every = training.eval_steps or 1
    return length.steps / every if every >= 1 else 1 / every


def evaluations_without_gain(
    history: Sequence[Mapping[str, Any]], metric: str | None, *, higher_is_better: bool
) -> int:
    """Return how many evaluations have passed since the best one.

    Args:
        history: ``log_history`` of Transformers' ``TrainerState``, which checkpoints keep.
        metric: ``metric_for_best_model``; ``None`` for the loss.
        higher_is_better: whether a higher value of it is better.
    """
    key = f"eval_{metric_key(metric)}"
    best, since = -math.inf, 0
    for value in (entry[key] for entry in history if entry.get(key) is not None):
        signed = value if higher_is_better else -value
        best, since = (signed, 0) if signed > best else (best, since + 1)
    return since
