"""Plan a training run from its settings and its output folder, before anything is loaded.

:func:`make_plan` is pure: it reads no file, starts no process and imports neither torch nor Transformers. The state of
the output folder and the abilities of the device are values (:class:`FolderState`, :class:`~earmark.device.Abilities`).
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earmark.device import Abilities, check_compiler, choose_optimizer, choose_precision
from earmark.errors import OutputError, UsageError
from earmark.models.model_source import ModelSource, model_source
from earmark.runs.folder import RunFolder, check_is_free
from earmark.scoring.decide import check_task_can_fit
from earmark.scoring.extra_metrics import ExtraMetrics, MetricFunction
from earmark.settings.config_files import GIVEN, plain, resolved_config
from earmark.settings.data_flags import DataArguments, paths_in
from earmark.settings.flags import Scope, declared_flags
from earmark.settings.model_flags import ModelArguments
from earmark.settings.run_flags import RunArguments
from earmark.settings.train_settings import TrainSettings
from earmark.settings.training_flags import TrainingArguments
from earmark.tasks import Task, find_task
from earmark.tasks.figures import check_direction, metric_key
from earmark.text import counted
from earmark.train.checkpoints import find_checkpoint_to_resume
from earmark.train.recipe import with_global_batch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FolderState:
    """State of the output folder that the plan depends on.

    Attributes:
        is_run: whether it holds an earlier run.
        has_several_runs: whether it holds a cross-validation or runs of several seeds.
        foreign: files that have names of run files but were not written by earmark.
        checkpoint: the checkpoint to resume from; ``None`` to start from the beginning.
    """

    is_run: bool = False
    has_several_runs: bool = False
    foreign: tuple[str, ...] = ()
    checkpoint: str | None = None


def look_at_folder(settings: TrainSettings) -> FolderState:
    """Read the state of the output folder.

    Raises:
        UsageError: two flags ask for different checkpoints.
        OutputError: the checkpoint to resume from does not exist, or is incomplete.
    """
    folder, asked = RunFolder(Path(str(settings.training.output_dir))), settings.training.resume_from_checkpoint
    checkpoint = find_checkpoint_to_resume(asked, folder.path, resume=settings.run.resume)
    foreign = tuple(folder.foreign_files())
    return FolderState(folder.is_run(), folder.cross_validation.is_file(), foreign, checkpoint)


@dataclass(frozen=True)
class Plan:
    """All decisions about a training run that do not need the clips.

    Attributes:
        data: data settings.
        model: model settings.
        run: run settings.
        given: training settings as the user gave them; a run saves their precision and optimizer.
        training: training settings, with metric, precision, optimizer and batch size decided.
        task: the task of the model.
        source: where the model comes from.
        folder: the run folder.
        checkpoint: the checkpoint to resume from; ``None`` to start from the beginning.
        resumes: whether the run in the folder is resumed.
        replaces: whether an earlier run in the folder is removed.
        extra_metrics: metrics that are not built in.
        notes: log lines about the decisions.
        warning: log line about a setting that this device cannot follow.
    """

    data: DataArguments
    model: ModelArguments
    run: RunArguments
    given: TrainingArguments
    training: TrainingArguments
    task: Task
    source: ModelSource
    folder: RunFolder
    checkpoint: str | None
    resumes: bool
    replaces: bool
    extra_metrics: ExtraMetrics
    notes: tuple[str, ...] = ()
    warning: str | None = None

    @property
    def pretrained(self) -> bool:
        """Whether training starts from a checkpoint of a model."""
        return self.model.model_name_or_path is not None

    @property
    def precision_flag(self) -> str | None:
        """The flag that asked for half precision, ``None`` if none did."""
        if self.run.precision in ("bf16", "fp16"):
            return f"--precision {self.run.precision}"
        return "--bf16" if self.given.bf16 else "--fp16" if self.given.fp16 else None

    @property
    def embedding_precision(self) -> str:
        """Number format of the embeddings of ``--few_shot``: ``auto``, unless a flag names one that the device has."""
        if self.precision_flag is None or (self.given.fp16 and self.training.use_cpu):
            return self.run.precision
        return self.precision_flag.removeprefix("--").removeprefix("precision ")

    def log(self) -> None:
        """Log the decisions."""
        if self.warning is not None:
            logger.warning("%s", self.warning)
        for note in self.notes:
            logger.info("%s", note)

    def shared(self) -> dict[str, str]:
        """Return the settings, by flag, that must be equal on all ranks, so that all take the same steps."""
        return {
            f"--{name}": str(getattr(part, name))
            for part in (self.data, self.model, self.run, self.training)
            for name, one in declared_flags(type(part)).items()
            if Scope.MACHINE not in one.scope
        }

    def to_save(self, training: TrainingArguments) -> dict[str, object]:
        """Return the settings of the run for its settings file.

        They leave out a precision and an optimizer that earmark chose for the device. Otherwise a run from this file
        would treat them as flags, which contradict ``--precision`` and fail on a device that does not support them.

        Args:
            training: training settings after the decisions that need clips and model.
        """
        chosen = {name: plain(getattr(self.given, name)) for name in ("bf16", "fp16", "optim")}
        given = {GIVEN: names} if (names := self.data.given_defaults()) else {}
        return {**resolved_config(self.data, self.model, self.run, training), **chosen, **given}


def make_plan(
    settings: TrainSettings,
    state: FolderState,
    device: Abilities | None = None,
    world_size: int = 1,
    *,
    metrics: Mapping[str, MetricFunction] | None = None,
) -> Plan:
    """Decide what a training run does.

    Args:
        settings: all settings of the run.
        state: state of the output folder.
        device: abilities of the device; ``None`` leaves precision and optimizer undecided.
        world_size: number of training processes.
        metrics: metric functions by name.

    Raises:
        UsageError: settings contradict each other, the task or the machine.
        OutputError: the output folder cannot take the run.
        DeviceError: the device does not support the requested precision.
    """
    data, model, run, given = settings.data, settings.model, settings.run, settings.training
    task = find_task(data.task)
    _check_flags_of_task(given, data, task)
    extra_metrics = ExtraMetrics(run.metric, metrics or {})
    training = judged_by(given, task, bool(extra_metrics))
    notes = []
    if training.metric_for_best_model != given.metric_for_best_model:
        notes.append(f"metric that chooses the best model: {training.metric_for_best_model}")
    warning = None
    if device is not None:
        training, of_device, warning = _on_device(training, model, run, device)
        notes += of_device
        if training.global_batch_size is not None:
            training = with_global_batch(training, world_size)
            notes.append(_describe_batches(training, world_size))
    folder = RunFolder(Path(str(given.output_dir)))
    if any(os.path.abspath(path) == os.path.abspath(folder.path) for path in paths_in(data.data_dir)):
        raise OutputError(f"--output_dir {given.output_dir}: the recordings are in this folder. Name another folder.")
    resumes = run.resume or _is_inside(state.checkpoint, folder.path)  # a checkpoint elsewhere starts a new run
    _check_folder(folder, state, resumes=resumes, replaces=run.overwrite_output_dir)
    return Plan(
        data=data,
        model=model,
        run=run,
        given=given,
        training=training,
        task=task,
        source=model_source(model),
        folder=folder,
        checkpoint=state.checkpoint,
        resumes=resumes,
        replaces=run.overwrite_output_dir and not resumes,
        extra_metrics=extra_metrics,
        notes=tuple(notes),
        warning=warning,
    )


def _describe_batches(training: TrainingArguments, world_size: int) -> str:
    batch, steps = training.per_device_train_batch_size, training.gradient_accumulation_steps
    shown = counted(training.global_batch_size or 0, "clip"), counted(world_size, "process")
    return f"batches: {shown[0]} a step = {shown[1]} x {batch} x {steps} accumulated"


def _check_flags_of_task(training: TrainingArguments, data: DataArguments, task: Task) -> None:
    """Reject flags that have no effect on the task."""
    check_task_can_fit(training, task)
    if not task.has_one_class and training.sampler == "balanced":
        instead = " Use --class_weights balanced." if task.has_several else " Leave it out."
        raise UsageError(f"--sampler balanced: needs one class for each clip, not {task.in_words}.{instead}")
    if task.has_classes:
        return
    if data.shots is not None:
        raise UsageError(
            f"--shots {data.shots}: --task regression has no classes. Use --max_train_samples to limit the clips."
        )
    training.reject(
        ("class_weights", "focal_gamma", "label_smoothing_factor"),
        lambda name: f"--{name}: --task {task.name} has no classes. Leave --{name} out.",
    )
    training.reject(
        ("fsdp", "deepspeed"),
        lambda name: (
            f"--task {task.name} and --{name} cannot be combined, because --{name} shards the head. Leave one out."
        ),
    )


def judged_by(training: TrainingArguments, task: Task, has_more_metrics: bool = False) -> TrainingArguments:
    """Return the training settings with the metric that selects the best model, and its direction.

    Args:
        training: settings; the default metric, accuracy, means the headline metric of the task.
        task: the task of the model.
        has_more_metrics: whether there are metrics that are not built in, whose names are not known yet.

    Raises:
        UsageError: the metric is unknown, or ``--greater_is_better`` contradicts it.
    """
    metric, direction = training.metric_for_best_model, training.greater_is_better
    if metric == "accuracy" and metric not in task.metrics:
        metric, direction = next(iter(task.metrics)), None
    higher = check_direction(task, metric_key(metric), direction, has_folder=has_more_metrics)
    changes: dict[str, Any] = {"metric_for_best_model": metric, "greater_is_better": higher}
    if training.lr_scheduler_type in ("reduce_lr_on_plateau", "greedy"):  # they minimize the metric by default
        settings = training.lr_scheduler_kwargs if isinstance(training.lr_scheduler_kwargs, dict) else {}
        changes["lr_scheduler_kwargs"] = {**settings, "mode": "max" if higher else "min"}
    return dataclasses.replace(training, **changes)


def _on_device(
    training: TrainingArguments, model: ModelArguments, run: RunArguments, device: Abilities
) -> tuple[TrainingArguments, list[str], str | None]:
    precision, note = choose_precision(device, bf16=training.bf16, fp16=training.fp16, precision=run.precision)
    optimizer = choose_optimizer(device, training.optim, precision)
    if not model.few_shot:
        check_compiler(
            device,
            asked=training.torch_compile,
            backend=training.torch_compile_backend,
            mode=training.torch_compile_mode,
        )
    half = None if model.few_shot else precision  # --few_shot fits the head in float32
    changes: dict[str, Any] = {
        "use_cpu": device.type == "cpu",
        "bf16": half == "bf16",
        "fp16": half == "fp16",
        "optim": optimizer,
    }
    what = "" if model.few_shot else f", training in {precision} with {optimizer}"
    notes = [f"device: {device}, {device.description}{what}"]
    return dataclasses.replace(training, **changes), notes, note


def _is_inside(checkpoint: str | None, folder: Path) -> bool:
    return checkpoint is not None and folder.resolve() in Path(checkpoint).resolve().parents


def _check_folder(folder: RunFolder, state: FolderState, *, resumes: bool, replaces: bool) -> None:
    if resumes and state.has_several_runs:
        raise OutputError(
            f"{folder.path}: holds a cross-validation or runs of several seeds, not a single run to resume. "
            "Add the flags of that command (--folds, --fold_column, --seeds), or name another --output_dir."
        )
    check_is_free(folder.path, state.foreign, is_run=state.is_run and not resumes and not replaces)
