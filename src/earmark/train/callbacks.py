"""Callbacks of the trainer: evaluate every N epochs, stop early, and estimate the time that training takes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from earmark.tasks.figures import metric_key
from earmark.text import counted
from earmark.train.clip_progress import TrainingClock
from earmark.train.schedule import evaluations_without_gain
from earmark.train.trackers import Tracker

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

logger = logging.getLogger(__name__)

_SLOW_STEPS = 3  # the first steps also choose kernels and allocate memory
# The estimate uses this many steps, so that several length buckets are among them, or this many seconds.
_TIMED_STEPS = 10
_TIMED_S = 10.0


class EvaluateEveryEpochs(TrainerCallback):
    """Evaluates and saves only after every ``eval_epochs``-th epoch and the last one."""

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Cancel the evaluation and the checkpoint that Transformers plans after every epoch."""
        every = args.eval_epochs or 1
        is_due = round(state.epoch) % every == 0 or state.global_step >= state.max_steps
        if args.eval_strategy == IntervalStrategy.STEPS or is_due:
            return
        control.should_evaluate = False
        stopped_by_signal = control.should_training_stop  # a run that a signal stops is saved after any epoch
        if args.save_strategy == SaveStrategy.EPOCH and not stopped_by_signal:
            control.should_save = False


class EarlyStopping(TrainerCallback):
    """Stops training after ``early_stopping_patience`` evaluations without a better metric."""

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Stop after this evaluation; its model is saved as usual."""
        if has_stopped_early(args, state):
            control.should_training_stop = True


def has_stopped_early(args: Any, state: TrainerState) -> bool:
    """Return whether early stopping ends training after the evaluations in ``state``, which may be a checkpoint's."""
    if not args.early_stopping_patience:
        return False
    metric, higher = args.metric_for_best_model, bool(args.greater_is_better)
    return evaluations_without_gain(state.log_history, metric, higher_is_better=higher) >= args.early_stopping_patience


def wins_by_loss(args: Any, state: TrainerState, figures: Mapping[str, float]) -> bool:
    """Return whether an evaluation equals the best metric so far and has a lower loss than the best evaluation.

    Early stopping is meant for few clips. With 30 validation clips many epochs have the same accuracy, so the loss
    decides between them; Transformers keeps the first.
    """
    if (
        not args.early_stopping_patience
        or figures.get(f"eval_{metric_key(args.metric_for_best_model)}") != state.best_metric
    ):
        return False
    losses = [
        row["eval_loss"] for row in state.log_history if row["step"] == state.best_global_step and "eval_loss" in row
    ]
    return bool(losses) and figures["eval_loss"] < losses[-1]


def stopped_early(args: object, state: TrainerState) -> bool:
    """Return whether early stopping ended training before its last step."""
    return has_stopped_early(args, state) and state.global_step < state.max_steps


def why_stopped_early(args: Any, state: TrainerState) -> str:
    """Return the log line for a run that stopped early."""
    metric = metric_key(args.metric_for_best_model)
    higher = bool(args.greater_is_better)
    since = counted(evaluations_without_gain(state.log_history, metric, higher_is_better=higher), "evaluation")
    return (
        f"early stopping at step {state.global_step:,} of {state.max_steps:,} (epoch {state.epoch:.0f}): validation "
        f"{metric} has not improved for {since} (--early_stopping_patience)"
    )


def set_tensorboard_folder(trackers: Sequence[Tracker], folder: str | None) -> None:
    """Make the TensorBoard callback write its events to ``folder``.

    Transformers reads this folder only from an environment variable, which would also apply to the next run.

    Args:
        trackers: the trackers of ``--report_to``, before training.
        folder: ``--logging_dir``; ``None`` keeps the default, ``runs/`` in the output folder.
    """
    for tracker in trackers:
        if folder is not None and isinstance(tracker.callback, TensorBoardCallback):
            tracker.callback.logging_dir = str(Path(folder).expanduser())


class EstimateTime(TrainerCallback):
    """Logs once how long training will take, measured on its first steps."""

    def __init__(self, clock: TrainingClock) -> None:
        self._clock = clock
        self._steps = 0
        self._began_at_s: float | None = None

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Start timing after the slow first steps; log after ten more steps, or ten seconds."""
        self._steps += 1
        now_s = self._clock.seconds
        if self._steps == _SLOW_STEPS:
            self._began_at_s = now_s
        if self._began_at_s is None or self._steps == _SLOW_STEPS:
            return
        timed, timed_s = self._steps - _SLOW_STEPS, now_s - self._began_at_s
        if timed < _TIMED_STEPS and timed_s < _TIMED_S:
            return
        remaining = state.max_steps - state.global_step
        logger.info(
            "%s", estimate_in_words(timed_s / timed, remaining, may_stop_early=bool(args.early_stopping_patience))
        )
        self._began_at_s = None


def estimate_in_words(step_s: float, steps: int, *, may_stop_early: bool) -> str:
    """Return the log line of an estimate.

    Args:
        step_s: duration of one optimizer step, in seconds.
        steps: number of optimizer steps left.
        may_stop_early: whether early stopping is on.
    """
    at_most = "at most " if may_stop_early else ""
    time_left = _rounded(step_s * steps)
    return f"estimated training time: {at_most}about {time_left} ({steps:,} more steps, {step_s:.2g} s each)"


def _rounded(seconds: float) -> str:
    """Return a rounded duration: ``45 s``, ``2 min`` or ``1.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
