"""``earmark train``: train a model from settings and write a run folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earmark.device import describe_device
from earmark.distributed.launched import is_main_process
from earmark.distributed.ranks import check_same_on_all_ranks, on_each_machine, on_main_process
from earmark.models.build_model import load_description
from earmark.models.forward import fold_unit
from earmark.runs.environment import describe_environment
from earmark.runs.folder import prepare_output_dir, write_json
from earmark.runs.folder_lock import locked_folder
from earmark.runs.split_record import write_record
from earmark.scoring.decide import check_can_fit
from earmark.scoring.extra_metrics import MetricFunction
from earmark.settings.config_files import save_config
from earmark.settings.train_settings import TrainSettings
from earmark.sources.source import HubAccess
from earmark.store.scan import write_bad_audio
from earmark.text import counted, format_seconds
from earmark.train.arguments import EarmarkTrainingArguments
from earmark.train.assemble import build_model, make_trainer
from earmark.train.augmentation import load_augmentation
from earmark.train.checkpoints import check_same_run, label_order
from earmark.train.checks import check_model_survives, check_settings
from earmark.train.custom import NOTHING, CustomParts
from earmark.train.finished import FinishedTraining, TrainingFigures, keep_measured_speed
from earmark.train.judge_splits import judge_splits, save_decision
from earmark.train.learn import learn
from earmark.train.lora import save_kept
from earmark.train.plan import FolderState, Plan, look_at_folder, make_plan
from earmark.train.prepared_data import PreparedData, prepare_data
from earmark.train.profiled_training import profiled_training
from earmark.train.report import RunResults, last_figures, write_reports
from earmark.train.saving import translated_save_errors
from earmark.train.start_ranks import Ranks, start_ranks
from earmark.train.trackers import ended_trackers
from earmark.train.trainer import AudioTrainer
from earmark.train.translated_faults import translated_faults
from earmark.train.uploads import upload_finished

logger = logging.getLogger(__name__)


@dataclass
class TrainOutcome:
    """The results of a run.

    Attributes:
        folder: the run folder.
        metrics: the content of ``metrics.json``.
        summary: the metrics as text, with the paths of the written files.
    """

    folder: Path
    metrics: dict[str, Any]
    summary: str


@translated_faults()
def train(settings: TrainSettings, *, custom: CustomParts = NOTHING, with_test: bool = True) -> TrainOutcome:
    """Train a classifier and write a complete run folder.

    Args:
        settings: all settings of the run.
        custom: objects and functions that no setting can name.
        with_test: whether the saved model is evaluated on the test split, if there is one.

    Raises:
        EarmarkError: settings, clips or machine cannot work; raised before training starts wherever possible.
    """
    custom.check(few_shot=settings.model.few_shot)
    ranks = start_ranks(settings)
    with locked_folder(Path(str(settings.training.output_dir))):
        plan = _decide(settings, ranks, custom.metrics)
        on_main_process(prepare_output_dir, plan.folder, overwrite=False, resume=plan.replaces or plan.resumes)
        prepared = _load_data(plan, custom, with_test=with_test)
        _check_together(plan, prepared)
        audio = build_model(plan, prepared)
        trainer = make_trainer(plan, prepared, audio)
        for callback in custom.callbacks:
            trainer.add_callback(callback)
        with ended_trackers(trainer.trackers, trainer.event):
            _begin(plan, trainer, prepared)
            with profiled_training(trainer, plan.run.profile, plan.folder.profile):
                training = learn(plan, trainer, prepared)
            return _finish(plan, trainer, training, prepared)


def _decide(settings: TrainSettings, ranks: Ranks, metrics: Mapping[str, MetricFunction]) -> Plan:
    """Plan the run. Rank 0 reads the state of the output folder, and reports errors that all ranks would raise."""

    def look() -> FolderState:
        state = look_at_folder(settings)
        make_plan(settings, state, metrics=metrics)
        return state

    state = on_main_process(look)
    plan = make_plan(settings, state, ranks.device, ranks.world_size, metrics=metrics)
    EarmarkTrainingArguments.of(plan.training)  # so that Transformers checks settings before clips are read
    plan.log()
    return plan


def _load_data(plan: Plan, custom: CustomParts, *, with_test: bool) -> PreparedData:
    """Load the clips, after the recordings for augmentation, which are fewer, so that their errors show sooner."""
    rate_hz = int(load_description(plan.source).extractor.sampling_rate)
    sounds = on_each_machine(load_augmentation, plan.training, plan.data, rate_hz, custom.augmentations)
    prepared = on_each_machine(
        prepare_data,
        plan.data,
        rate_hz,
        seed=plan.training.seed,
        hub=HubAccess.from_flags(plan.model),
        with_test=with_test,
        loaded=custom.clips,
    )
    if plan.checkpoint is not None:
        prepared.labels = label_order(plan.checkpoint, prepared.labels)
    prepared.sounds = sounds
    prepared.bad += sounds.bad()
    prepared.start_from(plan.source.folder())
    return prepared


def _check_together(plan: Plan, prepared: PreparedData) -> None:
    """Reject settings that do not fit the clips, and ranks that differ in settings or clips."""
    check_same_on_all_ranks({**prepared.facts(), **plan.shared()})
    on_main_process(_check_on_main_process, plan, prepared)


def _check_on_main_process(plan: Plan, prepared: PreparedData) -> None:
    check_model_survives(plan)
    check_settings(plan, prepared.labels, len(prepared.train.table))
    check_can_fit(plan.training, prepared.labels, prepared.validation.table if prepared.validation else None)


def _begin(plan: Plan, trainer: AudioTrainer, prepared: PreparedData) -> None:
    """Compare a resumed run with its checkpoint, remove a replaced run, and write settings, labels and splits."""
    checkpoint, folder = plan.checkpoint, plan.folder
    if checkpoint is not None:  # before any file of an earlier run is overwritten
        on_main_process(check_same_run, checkpoint, trainer.facts())
    if plan.replaces:
        on_main_process(prepare_output_dir, folder, overwrite=True, resume=False)
    if is_main_process():
        _write_facts(plan, trainer, prepared)
    splits = {"training": prepared.train, **prepared.evaluated()}
    counts = [counted(len(clips.table), f"{name} clip") for name, clips in splits.items()]
    number = f"{plan.task.in_words}, {prepared.labels[0]}"
    what = counted(len(prepared.labels), "class") if plan.task.has_classes else number
    logger.info("data: %s; %s", ", ".join(counts), what)


def _write_facts(plan: Plan, trainer: AudioTrainer, prepared: PreparedData) -> None:
    """Write settings, labels, machine, unusable recordings and splits."""
    folder = plan.folder
    save_config(plan.to_save(trainer.args), folder.config)
    write_json(folder.labels, trainer.audio.labels)
    write_json(folder.environment, describe_environment(describe_device(trainer.args.device)))
    if prepared.bad:
        write_bad_audio(folder.bad_audio, prepared.bad)
    write_record(folder.splits, prepared.split_rows(plan.data))


def _finish(plan: Plan, trainer: AudioTrainer, training: FinishedTraining, prepared: PreparedData) -> TrainOutcome:
    """Save the model, evaluate it and write the reports."""
    folder, audio, args = plan.folder, training.audio, training.args
    figures = TrainingFigures.of(training)
    if not training.trained_clips:  # resumed after its last step
        figures = keep_measured_speed(figures, folder)
    audio.model = trainer.accelerator.unwrap_model(trainer.whole_model())
    fold_unit(audio.model)
    with translated_save_errors(folder.path, folder.path):  # first, so that a later failure does not lose the model
        save_kept(audio, folder.path, args, plan.model)
    if is_main_process():
        folder.decision.unlink(missing_ok=True)  # the file belongs to the replaced weights
        if not (folder.config.exists() and folder.splits.exists()):
            logger.warning(
                "%s: files of this run were removed during training. Writing settings, labels and splits again",
                folder.path,
            )
            _write_facts(plan, trainer, prepared)
    judged = judge_splits(trainer.scorer, prepared)
    summary = ""
    metrics: dict[str, Any] = {}
    if is_main_process():
        save_decision(folder, audio.decision, audio.labels)
        metrics, summary = write_reports(RunResults(plan, prepared, training, figures, judged))
        for tracker in trainer.trackers:
            tracker.finish(trainer.event(), last_figures(training, judged))
        done = f"trained in {format_seconds(figures.training_s)}"
        logger.info("%s", done if training.trained_clips else "no training step was left to do")
        if args.push_to_hub:
            logger.info("%s", upload_finished(args, trainer.hub_model_id))
    trainer.accelerator.wait_for_everyone()
    return TrainOutcome(folder.path, metrics, summary)
