"""``earmark train`` from settings to run folder."""

from __future__ import annotations

import dataclasses
import errno
import logging
import math
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import transformers
from huggingface_hub.errors import HTTPError

from earmark.data.scan import write_bad_audio
from earmark.data.targets import targets_of
from earmark.data.waveforms import default_store_root
from earmark.device import abilities, choose_optimizer, choose_precision, describe_device, select_device
from earmark.errors import EarmarkError, NetworkError, OutputError, Stopped, UsageError, first_line
from earmark.models.build import AudioModel, build_for_training, load_config
from earmark.models.extractor import load_extractor
from earmark.models.forward import fold_unit
from earmark.models.freeze import freeze
from earmark.models.source import ModelSource, source_of
from earmark.progress import format_seconds, is_main_process
from earmark.runs.environment import describe_environment
from earmark.runs.folder import RunFolder, prepare_output_dir, write_json
from earmark.runs.split_record import write_record
from earmark.scoring.decide import check_can_fit
from earmark.scoring.diagnosis import Schedule
from earmark.scoring.extra_metrics import ExtraMetrics
from earmark.scoring.figures import METRICS, check_direction, metric_key
from earmark.settings.data import DEFAULT_LONGEST_S, DataArguments
from earmark.settings.files import resolved_config, save_config
from earmark.settings.flags import Scope, Settings, flags_of
from earmark.settings.model import ModelArguments
from earmark.settings.run import RunArguments
from earmark.settings.training import TrainingArguments
from earmark.tasks import Task
from earmark.threads import watch
from earmark.train.arguments import EarmarkTrainingArguments
from earmark.train.augmentation import AugmentationSounds, load_augmentation
from earmark.train.callbacks import set_tensorboard_folder, stopped_early, why_stopped_early
from earmark.train.checked_precision import precision_flag, with_checked_precision
from earmark.train.checkpoints import check_same_run, find_checkpoint_to_resume, label_order, set_aside_later
from earmark.train.checks import check_flags_of_model, check_flags_of_task, check_model_survives, check_settings
from earmark.train.custom import NOTHING, CustomParts
from earmark.train.decide import judge_splits, save_decision
from earmark.train.faults import translated_faults
from earmark.train.few_shot import check_few_shot, check_head, fit_few_shot
from earmark.train.layer_decay import learning_rates
from earmark.train.lora import add_adapters, save_kept
from earmark.train.prepare import PreparedData, prepare_data
from earmark.train.ranks import check_same_on_all_ranks, holding, on_each_machine, on_main_process
from earmark.train.recipe import (
    choose_rates,
    global_batch_size,
    is_wav2vec2_base,
    training_needs,
    warn_of_collapse,
    with_global_batch,
)
from earmark.train.report import TrainingFigures, keep_measured_speed, write_reports
from earmark.train.saving import translated_save_errors
from earmark.train.schedule import with_length
from earmark.train.stopping import StopOnSignal
from earmark.train.trainer import AudioTrainer, result_settings
from earmark.train.uploads import upload_finished
from earmark.words import counted, every

logger = logging.getLogger(__name__)

T = TypeVar("T", bound=TrainingArguments)

_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


@dataclass
class TrainOutcome:
    """What a run came to.

    Attributes:
        folder: the run folder.
        metrics: what ``metrics.json`` holds.
        summary: the same for a reader, with the paths of what was written.
    """

    folder: Path
    metrics: dict[str, Any]
    summary: str


@translated_faults()
def train(
    data: DataArguments,
    model: ModelArguments,
    run: RunArguments,
    training: TrainingArguments,
    *,
    custom: CustomParts = NOTHING,
    with_test: bool = True,
) -> TrainOutcome:
    """Train a classifier and leave a complete run folder.

    Args:
        data: which recordings.
        model: which network, and what of it learns.
        run: device and output.
        training: Transformers' settings.
        custom: objects and functions that no setting can name.
        with_test: whether the model that is kept is scored on a test split, where there is one.

    Raises:
        EarmarkError: whatever of these cannot work, before training starts wherever it can be known.
    """
    if not training.output_dir:
        raise UsageError("where to? give --output_dir FOLDER")
    if model.few_shot:
        check_few_shot(model, training)
    custom.check(model)
    source, task = source_of(model), Task(data.task or Task.SINGLE_LABEL)
    check_flags_of_task(training, task)
    has_more_metrics = run.metric is not None or bool(custom.metrics)
    arguments = with_global_batch(with_device(judged_by(training, task, has_more_metrics=has_more_metrics), run))
    folder = RunFolder(Path(training.output_dir))
    with holding(folder.path):
        return _run_in(folder, source, data, model, run, arguments, custom, with_test=with_test, given=training)


def _run_in(
    folder: RunFolder,
    source: ModelSource,
    data: DataArguments,
    model: ModelArguments,
    run: RunArguments,
    training: EarmarkTrainingArguments,
    custom: CustomParts,
    *,
    with_test: bool,
    given: TrainingArguments,
) -> TrainOutcome:
    """:func:`train` in a folder that no other command works in; ``given`` are the settings before any was chosen."""
    task = Task(data.task or Task.SINGLE_LABEL)
    checkpoint, replace = _look_at_folder(folder, run, training)
    # before the clips, which are more: a folder that is not there is known at once
    sounds = on_each_machine(lambda: load_augmentation(training, data, _sampling_rate_hz(source), custom.augmentations))
    prepared = on_each_machine(
        lambda: prepare_data(
            data,
            _sampling_rate_hz(source),
            seed=training.seed,
            token=model.token,
            cache_dir=model.cache_dir,
            with_test=with_test,
            loaded=custom.clips,
        )
    )
    if checkpoint is not None:
        prepared.labels = label_order(checkpoint, prepared.labels)
    prepared.bad += sounds.bad()
    prepared.start_from(_folder_of(source))
    check_same_on_all_ranks({**prepared.facts(), **sounds.facts(), **_shared(data, model, run, training)})
    check_model_survives(_folder_of(source), folder, overwrite=replace)
    extra = ExtraMetrics(run.metric, custom.metrics)
    on_main_process(lambda: check_settings(run, training, prepared.labels, len(prepared.train.table), task, extra))
    validation = prepared.validation
    judged_on = validation.table if validation else None
    on_main_process(lambda: check_can_fit(training, prepared.labels, judged_on))
    transformers.set_seed(training.seed)  # before the head's random weights are drawn
    audio = _build(source, prepared, data, model, training)
    check_flags_of_model(training, audio.model)
    if model.few_shot:
        check_head(audio)
    training = _with_length(_with_rates(training, audio, model), prepared, audio, model)
    if model.few_shot:  # fits the head in float32
        changes: dict[str, Any] = {"bf16": False, "fp16": False}
        training = dataclasses.replace(training, **changes)
    flag = precision_flag(given, run.precision)
    training = with_checked_precision(audio, training, prepared.train, flag, half=not model.few_shot)
    trainer = _make_trainer(audio, training, prepared, data, run, sounds, extra, model)
    for callback in custom.callbacks:
        trainer.add_callback(callback)
    if checkpoint is not None:  # before anything of an earlier run is written over
        on_main_process(lambda: check_same_run(checkpoint, trainer.facts()))
    if replace:
        on_main_process(lambda: prepare_output_dir(folder, overwrite=True, resume=False))
    if is_main_process():
        save_config(settings_to_save(resolved_config(data, model, run, training), given), folder.config)
        _write_beginning(folder, audio, prepared, training)
        write_record(folder.splits, prepared.split_rows(data))
    _log_data(prepared, data)
    _learn(trainer, prepared, data, model, checkpoint)
    return _finish(folder, trainer, prepared, data, model, report=run.report)


def _look_at_folder(
    folder: RunFolder, run: RunArguments, training: EarmarkTrainingArguments
) -> tuple[str | None, bool]:
    """The checkpoint to go on from, and whether an earlier run is to be replaced.

    That is removed only when everything else has been found in order.
    """
    checkpoint = on_main_process(
        lambda: find_checkpoint_to_resume(training.resume_from_checkpoint, folder.path, resume=run.resume)
    )
    # from a checkpoint that lies elsewhere a new run begins
    goes_on = run.resume or (checkpoint is not None and folder.path.resolve() in Path(checkpoint).resolve().parents)
    if goes_on:
        on_main_process(lambda: _refuse_several_runs(folder))
    replace = run.overwrite_output_dir and not goes_on
    on_main_process(lambda: prepare_output_dir(folder, overwrite=False, resume=replace or goes_on))
    return checkpoint, replace


def _refuse_several_runs(folder: RunFolder) -> None:
    if folder.cross_validation.is_file():
        raise OutputError(
            f"{folder.path}: holds a cross-validation or runs of several seeds, not a single run that can be resumed. "
            "Give the flags that it was made with (--folds, --fold_column, --seeds), or another --output_dir."
        )


def _shared(*parts: Settings) -> dict[str, str]:
    """Settings that ranks must agree on, by flag: they decide what is computed and when a rank meets the others."""
    return {
        f"--{name}": str(getattr(part, name))
        for part in parts
        for name, one in flags_of(type(part)).items()
        if Scope.MACHINE not in one.scope
    }


def settings_to_save(settings: dict[str, Any], given: TrainingArguments) -> dict[str, Any]:
    """Return the settings of a run as its file holds them.

    A precision and an optimizer that earmark chose for the device are left out: read back from the file, they would
    count as flags, contradict ``--precision``, and be an error on a device that does not have them.

    Args:
        settings: all settings of the run.
        given: the training settings before earmark chose any.
    """
    return {**settings, "bf16": given.bf16, "fp16": given.fp16, "optim": str(given.optim)}


def _folder_of(source: ModelSource) -> Path | None:
    return source.find(source.name_or_path) if source.name_or_path else None


def _sampling_rate_hz(source: ModelSource) -> int:
    folder = _folder_of(source)
    return int(load_extractor(source, folder, load_config(source, folder)).sampling_rate)


def with_device(training: TrainingArguments, run: RunArguments) -> EarmarkTrainingArguments:
    """Training settings for the device, precision and optimizer that will be used; said in the log."""
    name = run.device
    if training.use_cpu and name not in ("auto", "cpu"):
        raise UsageError(f"--use_cpu and --device {name} contradict each other: keep one")
    device = select_device("cpu" if training.use_cpu else name)
    able = abilities(device)
    precision, note = choose_precision(able, bf16=training.bf16, fp16=training.fp16, precision=run.precision)
    if note is not None:
        logger.warning("%s", note)
    optimizer = choose_optimizer(able, str(getattr(training.optim, "value", training.optim)), precision)
    logger.info("device: %s, %s, training in %s with %s", device, describe_device(device), precision, optimizer)
    if device.type == "cpu":
        logger.info("threads: %s", watch.describe())
    changes = {
        "use_cpu": device.type == "cpu",
        "bf16": precision == "bf16",
        "fp16": precision == "fp16",
        "optim": optimizer,
    }
    arguments = EarmarkTrainingArguments.of(training, **changes)
    used = arguments.device  # the first look at it starts the process group of a distributed run
    if ":" in name and used != device:
        raise UsageError(
            f"--device {name}: training takes {used}; choose the card with ASCEND_RT_VISIBLE_DEVICES or "
            "CUDA_VISIBLE_DEVICES, or start one process a card with torchrun"
        )
    return arguments


def _build(
    source: ModelSource,
    prepared: PreparedData,
    data: DataArguments,
    model: ModelArguments,
    training: EarmarkTrainingArguments,
) -> AudioModel:
    longest_s = min(prepared.longest_s, DEFAULT_LONGEST_S)
    task, unit = Task(data.task or Task.SINGLE_LABEL), _unit(prepared) if data.task == "regression" else None
    audio = build_for_training(source, prepared.labels, data.max_length_seconds, longest_s, task, unit)
    if data.has_background:  # saved in config.json, for names that do not say it
        audio.model.config.background_class = data.background_class
    frozen = f"--freeze {freeze(audio.model, 'encoder' if model.few_shot else model.freeze)}"
    learns = add_adapters(audio, training, model) or ("--few_shot: the head" if model.few_shot else frozen)
    total = sum(parameter.numel() for parameter in audio.model.parameters())
    learning = sum(parameter.numel() for parameter in audio.model.parameters() if parameter.requires_grad)
    logger.info(
        "model: %s, %s parameters, %s of them learning (%s), clips of at most %.4g s",
        type(audio.model).__name__,
        f"{total:,}",
        f"{learning:,}",
        learns,
        audio.frontend.max_samples / audio.frontend.sampling_rate_hz,
    )
    return audio


def _unit(prepared: PreparedData) -> tuple[float, float]:
    """Mean and deviation of the training clips' numbers."""
    numbers = targets_of(prepared.train.table, prepared.labels, Task.REGRESSION).astype(float)
    return float(numbers.mean()), float(numbers.std())


def judged_by(training: T, task: Task, has_more_metrics: bool = False) -> T:
    """Return the training settings with the metric that chooses the best model and its direction.

    Args:
        training: settings; the default metric, accuracy, stands for the headline of any task.
        task: the task of the model.
        has_more_metrics: whether there are metrics that are not built in, of which the names are not known yet.

    Raises:
        UsageError: the metric is unknown, or ``--greater_is_better`` contradicts it.
    """
    metric, direction = training.metric_for_best_model, training.greater_is_better
    if metric == "accuracy" and task is not Task.SINGLE_LABEL:
        metric, direction = next(iter(METRICS[task])), None
        logger.info("metric that chooses the best model: %s", metric)
    higher = check_direction(task, metric_key(metric), direction, has_folder=has_more_metrics)
    changes: dict[str, Any] = {"metric_for_best_model": metric, "greater_is_better": higher}
    if training.lr_scheduler_type in ("reduce_lr_on_plateau", "greedy"):  # torch's default is to minimize
        settings = training.lr_scheduler_kwargs if isinstance(training.lr_scheduler_kwargs, dict) else {}
        changes["lr_scheduler_kwargs"] = {**settings, "mode": "max" if higher else "min"}
    return dataclasses.replace(training, **changes)


def _with_rates(
    training: EarmarkTrainingArguments, audio: AudioModel, model: ModelArguments
) -> EarmarkTrainingArguments:
    if model.few_shot:
        return dataclasses.replace(training, learning_rate=0.0, head_learning_rate=0.0)
    pretrained = model.model_name_or_path is not None
    rates = choose_rates(training, audio.model.config.model_type, pretrained=pretrained, freeze=model.freeze)
    head = f", of the head {rates.head:g}" if rates.head != rates.body else ""
    logger.info("peak learning rate: %g (%s)%s", rates.body, rates.reason, head)
    training = dataclasses.replace(training, learning_rate=rates.body, head_learning_rate=rates.head)
    learning_rates(audio.model, training)  # says before anything is written that a model has no layers to decay by
    return training


def _with_length(
    training: EarmarkTrainingArguments, prepared: PreparedData, audio: AudioModel, model: ModelArguments
) -> EarmarkTrainingArguments:
    if model.few_shot:
        return training
    pretrained = model.model_name_or_path is not None
    model_type = audio.model.config.model_type
    return with_length(
        training,
        len(prepared.train.table),
        global_batch_size(training),
        training_needs(training, model_type, pretrained=pretrained, freeze=model.freeze),
        pretrained=pretrained,
        validates=prepared.validation is not None,
    )


def _make_trainer(
    audio: AudioModel,
    training: EarmarkTrainingArguments,
    prepared: PreparedData,
    data: DataArguments,
    run: RunArguments,
    sounds: AugmentationSounds,
    extra: ExtraMetrics,
    model: ModelArguments,
) -> AudioTrainer:
    try:
        trainer = AudioTrainer(
            audio,
            training,
            prepared.train,
            prepared.validation,
            bucket_waste=data.bucket_waste,
            sounds=sounds,
            extra_metrics=extra,
            settings=result_settings(data, model, run),
        )
    except (OSError, HTTPError) as exc:  # with --push_to_hub it makes the repository
        raise NetworkError(f"--push_to_hub: {first_line(exc)}") from exc
    except (ValueError, RuntimeError, ImportError) as exc:  # how Transformers refuses settings that do not go together
        raise UsageError(first_line(exc)) from exc
    set_tensorboard_folder(trainer, run.logging_dir)
    return trainer


def _write_beginning(
    folder: RunFolder, audio: AudioModel, prepared: PreparedData, training: EarmarkTrainingArguments
) -> None:
    """What is known of a run before it trains."""
    write_json(folder.labels, audio.labels)
    write_json(folder.environment, describe_environment(describe_device(training.device)))
    if prepared.bad:
        write_bad_audio(folder.bad_audio, prepared.bad)


def _learn(
    trainer: AudioTrainer, prepared: PreparedData, data: DataArguments, model: ModelArguments, checkpoint: str | None
) -> None:
    """Fit the head, or train epochs with what a frozen part gives computed once."""
    if model.few_shot:
        fit_few_shot(trainer, prepared.train)
        return
    _log_plan(trainer, prepared, model)
    with ExitStack() as stack:
        root = Path(data.store_dir) if data.store_dir else default_store_root()
        trainer.keep_frozen(stack, root, small_only=data.store == "off")
        _train(trainer, checkpoint)


def _train(trainer: AudioTrainer, checkpoint: str | None) -> None:
    if checkpoint is not None:
        on_main_process(lambda: set_aside_later(Path(checkpoint), Path(trainer.args.output_dir)))
    try:
        with StopOnSignal() as signals:
            trainer.add_callback(signals)
            trainer.train(resume_from_checkpoint=checkpoint)
    except OSError as exc:
        if exc.errno not in _CANNOT_WRITE:
            raise
        raise OutputError(f"{exc.filename or trainer.args.output_dir}: cannot be written ({first_line(exc)})") from exc
    except EarmarkError:
        raise
    except Exception as exc:  # safetensors, torch and pickle share no base class for a damaged file
        if checkpoint is None or trainer.has_begun:
            raise
        raise OutputError(
            f"{checkpoint}: cannot be resumed: the checkpoint is damaged or belongs to another model "
            f"({first_line(exc)}). Name another one with --resume_from_checkpoint."
        ) from exc
    if signals.stopped:
        at = f"stopped by {signals.stopped} after step {trainer.state.global_step:,} of {trainer.state.max_steps:,}"
        if is_main_process() and not _checkpoint_of_now(trainer).is_dir():
            raise OutputError(f"{at}, and no checkpoint was written; --resume goes on from the last one before")
        raise Stopped(f"{at}, saved; the same command with --resume goes on")
    if stopped_early(trainer.args, trainer.state):
        logger.info("%s", why_stopped_early(trainer.args, trainer.state))


def _checkpoint_of_now(trainer: AudioTrainer) -> Path:
    return Path(trainer.args.output_dir or "") / f"checkpoint-{trainer.state.global_step}"


def _log_data(prepared: PreparedData, data: DataArguments) -> None:
    splits = {"training": prepared.train, **prepared.evaluated()}
    counts = {name: len(clips.table) for name, clips in splits.items()}
    labels = prepared.labels
    what = f"a number, {labels[0]}" if data.task == Task.REGRESSION.value else counted(len(labels), "class")
    logger.info(
        "data: %s; %s",
        ", ".join(counted(count, f"{name} clip") for name, count in counts.items()),
        what,
    )


def _log_plan(trainer: AudioTrainer, prepared: PreparedData, model: ModelArguments) -> None:
    args = trainer.args
    global_batch, num_clips = global_batch_size(args), len(prepared.train.table)
    if trainer.eval_dataset is not None and args.eval_strategy != "no" and not args.load_best_model_at_end:
        logger.info("kept at the end: the model of the last step, not the best one (--load_best_model_at_end is off)")
    if global_batch > num_clips:
        logger.info(
            "every step takes %s, because a batch of %s is more", every(num_clips, "training clip"), global_batch
        )
    steps = _total_steps(trainer, num_clips, global_batch)
    logger.info("training: %s of %s, seed %d", counted(steps, "step"), counted(global_batch, "clip"), args.seed)
    pretrained = model.model_name_or_path is not None
    is_base = is_wav2vec2_base(trainer.audio.model.config, args, model.freeze)
    warning = warn_of_collapse(Schedule(steps, args.learning_rate, global_batch, pretrained, is_base))
    if warning:
        logger.warning("%s", warning)


def _total_steps(trainer: AudioTrainer, num_clips: int, global_batch: int) -> int:
    if trainer.args.max_steps > 0:
        return trainer.args.max_steps
    return math.ceil(math.ceil(num_clips / global_batch) * trainer.args.num_train_epochs)


def _finish(
    folder: RunFolder,
    trainer: AudioTrainer,
    prepared: PreparedData,
    data: DataArguments,
    model: ModelArguments,
    *,
    report: bool,
) -> TrainOutcome:
    """Judge the model that is kept, save it and write everything about it."""
    figures = TrainingFigures.of(trainer)
    has_trained = trainer.trained_clips > 0 or model.few_shot
    if not has_trained:  # resumed after its last step
        figures = keep_measured_speed(figures, folder)
    trainer.audio.model = trainer.accelerator.unwrap_model(trainer.whole_model())
    fold_unit(trainer.audio.model)
    with translated_save_errors(folder.path, folder.path):  # before anything that can fail: what was learned is kept
        save_kept(trainer.audio, folder.path, trainer.args, model)
    if is_main_process():
        folder.decision.unlink(missing_ok=True)  # of the weights that were there before
    judged = judge_splits(trainer, prepared)
    summary = ""
    metrics: dict[str, Any] = {}
    if is_main_process():
        save_decision(folder, trainer.audio.decision, trainer.audio.labels)
        metrics, summary = write_reports(folder, trainer, figures, judged, prepared, data, model, page=report)
        done = f"trained in {format_seconds(figures.training_s)}" if has_trained else "no training step was left to do"
        logger.info("%s", done)
        if trainer.args.push_to_hub:
            logger.info("%s", upload_finished(trainer.args, trainer.hub_model_id))
    trainer.accelerator.wait_for_everyone()
    return TrainOutcome(folder.path, metrics, summary)
