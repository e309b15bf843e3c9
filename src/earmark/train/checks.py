"""Checks before training starts, to find errors that would otherwise show after hours of training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import transformers
from transformers import SchedulerType
from transformers.training_args import OptimizerNames

from earmark.errors import UsageError, first_line
from earmark.runs.folder import prepare_folder
from earmark.scoring.extra_metrics import ExtraMetrics
from earmark.settings.training_flags import TrainingArguments
from earmark.tasks import Task
from earmark.tasks.figures import metric_key
from earmark.text import counted
from earmark.threads.cores import this_process
from earmark.train.plan import Plan

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from earmark.train.arguments import EarmarkTrainingArguments

logger = logging.getLogger(__name__)

_ANY_STEPS = 1_000_000  # length of a schedule that is only made to see whether its arguments are right


def check_model_survives(plan: Plan) -> None:
    """Check that replacing an earlier run does not remove the pretrained model.

    Raises:
        UsageError: the model is in the run that would be removed.
    """
    model = plan.source.folder()
    if model is None or not plan.replaces or not plan.folder.is_run():
        return
    place, output = model.resolve(), plan.folder.path.resolve()
    if place == output or output in place.parents:
        raise UsageError(
            f"--overwrite_output_dir would remove the pretrained model, {model}. Name another --output_dir."
        )


def check_settings(plan: Plan, labels: Sequence[str], clips: int) -> None:
    """Try the metrics and folders that training first uses at the end of an epoch or of the run.

    Args:
        plan: the plan of the run.
        labels: class names.
        clips: number of training clips.

    Raises:
        UsageError: a metric does not exist, or there are too few clips for one batch.
        OutputError: the folder for TensorBoard cannot be written.
    """
    training, logging_dir = plan.training, plan.run.logging_dir
    _check_metrics(training, labels, plan.task, plan.extra_metrics)
    if training.sampler == "balanced" and training.train_sampling_strategy != "random":
        raise UsageError(
            f"--sampler balanced and --train_sampling_strategy {training.train_sampling_strategy} contradict each "
            f"other. Keep one of them."
        )
    _warn_of_workers(training)
    if "tensorboard" in training.report_to and logging_dir:
        prepare_folder(Path(logging_dir))
    batch = training.train_batch_size * training.world_size
    if training.dataloader_drop_last and clips < batch:
        raise UsageError(
            f"--dataloader_drop_last leaves no batch, because {clips} training clips do not fill a batch of "
            f"{batch}. Lower --per_device_train_batch_size, or leave the flag out."
        )


def _warn_of_workers(training: TrainingArguments) -> None:
    workers, cores = training.dataloader_num_workers * training.world_size, this_process().cpus
    if workers > cores:
        logger.warning(
            "--dataloader_num_workers %d: %s for %s, so loading may become slower. Lower the number",
            training.dataloader_num_workers,
            counted(workers, "worker"),
            counted(cores, "logical CPU"),
        )


def _check_metrics(training: TrainingArguments, labels: Sequence[str], task: Task, extra: ExtraMetrics) -> None:
    """Compute every metric on one clip of each class, and check that the metric of the best model is among them."""
    targets, logits = task.example(labels)
    figures = task.figures(logits, targets, labels).to_dict()
    known = [name for name in task.metrics if name in figures]  # top_5_accuracy needs six classes
    known += extra.of_folder(task, logits, targets)
    for name in extra.of_functions(task, logits, targets):
        if name in figures or name in task.metrics:
            raise UsageError(f"metric {name}: earmark has a metric with this name. Give the function another name.")
        known.append(name)
    if metric_key(training.metric_for_best_model) not in known:
        raise UsageError(
            f"--metric_for_best_model {training.metric_for_best_model}: not a metric of this task ({task.in_words}) "
            f"with {counted(len(labels), 'class')}. Choose one of {', '.join(known)}."
        )


def check_flags_of_model(training: TrainingArguments, model: PreTrainedModel) -> None:
    """Refuse flags that the model does not support.

    Raises:
        UsageError: activations cannot be recomputed.
    """
    if training.gradient_checkpointing and not model.supports_gradient_checkpointing:
        raise UsageError(
            f"--gradient_checkpointing: {model.config.model_type} does not support it. Leave the flag out, or lower "
            "--per_device_train_batch_size to save memory."
        )


def check_optimizer(args: EarmarkTrainingArguments, model: PreTrainedModel) -> None:
    """Check that Transformers can make the optimizer and the schedule of the learning rate, before files are written.

    Raises:
        UsageError: a package of the optimizer is missing, or arguments of the schedule are missing or wrong.
    """
    try:
        transformers.Trainer.get_optimizer_cls_and_kwargs(args, model)
    except (ImportError, ValueError) as exc:
        raise UsageError(
            f"--optim {OptimizerNames(args.optim).value}: {first_line(exc).rstrip('.')}. Fix this, or use --optim "
            "adamw_torch."
        ) from exc
    schedule = SchedulerType(args.lr_scheduler_type)
    given = args.lr_scheduler_kwargs or {}
    if not isinstance(given, dict):
        raise UsageError(f'--lr_scheduler_kwargs {given}: not a JSON object. Write it as {{"name": value}}.')
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    try:
        transformers.get_scheduler(schedule, optimizer, 0, _ANY_STEPS, scheduler_specific_kwargs=dict(given))
    except (TypeError, ValueError) as exc:
        raise UsageError(
            f"--lr_scheduler_type {schedule.value}: {first_line(exc).rstrip('.')}. Fix --lr_scheduler_kwargs, which "
            f"holds its arguments as a JSON object."
        ) from exc
