"""Train epochs, from a checkpoint if there is one, or fit the head."""

from __future__ import annotations

import errno
import logging
import math
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earmark.distributed.launched import is_main_process
from earmark.distributed.ranks import on_main_process
from earmark.errors import EarmarkError, OutputError, Stopped, first_line
from earmark.heap import freed_memory_kept
from earmark.scoring.diagnosis import Schedule
from earmark.store.waveforms import default_store_root
from earmark.tasks.linear_fits import FittedHead
from earmark.text import counted, every
from earmark.train.callbacks import stopped_early, why_stopped_early
from earmark.train.checkpoints import set_aside_later
from earmark.train.few_shot import fit_few_shot
from earmark.train.finished import FinishedTraining
from earmark.train.plan import Plan
from earmark.train.prepared_data import PreparedData
from earmark.train.recipe import global_batch_size, is_wav2vec2_base, warn_of_collapse
from earmark.train.trainer import AudioTrainer

if TYPE_CHECKING:
    from earmark.models.build_model import AudioModel

logger = logging.getLogger(__name__)

_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


def learn(plan: Plan, trainer: AudioTrainer, prepared: PreparedData) -> FinishedTraining:
    """Fit the head, or train epochs on the stored output of a frozen part.

    Args:
        plan: the plan of the run.
        trainer: the trainer, with its model.
        prepared: the clips.

    Returns:
        The results of training.

    Raises:
        Stopped: a signal ended training, and a checkpoint was saved.
        OutputError: the disk is full, or training cannot resume from the checkpoint.
    """
    if plan.model.few_shot:
        began_s = time.perf_counter()
        fitted = fit_few_shot(trainer.audio, trainer.args, prepared.train, plan.embedding_precision)
        trainer.clock.add(time.perf_counter() - began_s, fitted.clips)
        return _finished(trainer, fitted)
    _log_schedule(plan, trainer.args, trainer.audio, prepared)
    with ExitStack() as stack:
        if trainer.args.device.type == "cpu":
            stack.enter_context(freed_memory_kept())
        root = Path(plan.data.store_dir) if plan.data.store_dir else default_store_root()
        trainer.keep_frozen(stack, root, small_only=plan.data.store == "off")
        _train(trainer, plan.checkpoint)
        return _finished(trainer, None)


def _finished(trainer: AudioTrainer, fitted: FittedHead | None) -> FinishedTraining:
    clock = trainer.clock
    return FinishedTraining(
        trainer.audio,
        trainer.given,
        trainer.state,
        num_clips=len(trainer.train_dataset),
        training_s=clock.frozen_s + clock.seconds,
        trained_clips=clock.clips,
        fitted_head=fitted,
    )


def _train(trainer: AudioTrainer, checkpoint: str | None) -> None:
    args, output = trainer.args, Path(str(trainer.args.output_dir))
    if checkpoint is not None:
        on_main_process(set_aside_later, Path(checkpoint), output)
    try:
        with trainer.signals:
            trainer.train(resume_from_checkpoint=checkpoint)
    except OSError as exc:
        if exc.errno not in _CANNOT_WRITE:
            raise
        raise OutputError(
            f"{exc.filename or output}: cannot be written ({first_line(exc)}). Free space, or give another "
            "--output_dir."
        ) from exc
    except EarmarkError:
        raise
    except Exception as exc:  # safetensors, torch and pickle share no base class for a damaged file
        if checkpoint is None or trainer.clock.has_begun:
            raise
        raise OutputError(
            f"{checkpoint}: cannot be resumed: the checkpoint is damaged or belongs to another model "
            f"({first_line(exc)}). Name another one with --resume_from_checkpoint."
        ) from exc
    state = trainer.state
    if trainer.stops_early:
        at = f"stopped by {trainer.signals.stopped} after step {state.global_step:,} of {state.max_steps:,}"
        if is_main_process() and not (output / f"checkpoint-{state.global_step}").is_dir():
            raise OutputError(f"{at}, and no checkpoint was written. Use --resume to continue from an earlier one.")
        raise Stopped(f"{at}, saved")
    if stopped_early(args, state):
        logger.info("%s", why_stopped_early(args, state))


def _log_schedule(plan: Plan, args: Any, audio: AudioModel, prepared: PreparedData) -> None:
    global_batch, num_clips = global_batch_size(args), len(prepared.train.table)
    if prepared.validation is not None and args.eval_strategy != "no" and not args.load_best_model_at_end:
        logger.info("the run keeps the model of the last step, not the best one (--load_best_model_at_end is off)")
    if global_batch > num_clips:
        logger.info(
            "every step trains on %s, because the batch size is %s", every(num_clips, "training clip"), global_batch
        )
    steps = _total_steps(args, num_clips, global_batch)
    logger.info("training: %s of %s, seed %d", counted(steps, "step"), counted(global_batch, "clip"), args.seed)
    is_base = is_wav2vec2_base(audio.model.config, audio.family, args, plan.model.freeze)
    warning = warn_of_collapse(Schedule(steps, args.learning_rate, global_batch, plan.pretrained, is_base))
    if warning:
        logger.warning("%s", warning)


def _total_steps(args: Any, num_clips: int, global_batch: int) -> int:
    if args.max_steps > 0:
        return int(args.max_steps)
    return math.ceil(math.ceil(num_clips / global_batch) * args.num_train_epochs)
