"""Evaluate a trained model on labelled recordings (``earmark evaluate``)."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from earmark.clips.class_counts import describe_classes
from earmark.clips.clip import ClipTable, Splits, fingerprint
from earmark.clips.columns import NUMBER
from earmark.device import describe_device, select_device
from earmark.errors import DataError, UsageError
from earmark.evaluate.held_out import check_given_files, find_held_out
from earmark.evaluate.place import describe, first_place, place_for
from earmark.export.load_export import ExportedModel, load_any
from earmark.io.atomic import no_empty_folder
from earmark.models.build_model import AudioModel
from earmark.models.checkpoint import hub_name
from earmark.models.model_source import model_source
from earmark.models.stated_task import OtherTaskError
from earmark.report.report_page import ReportFacts, ScoredSplit, read_history, write_report
from earmark.runs.environment import describe_environment
from earmark.runs.example_results import eval_results, write_eval_results
from earmark.runs.folder import RunFolder, prepare_folder, run_folders, write_json
from earmark.runs.judged import Judged, judge, write_predictions
from earmark.runs.results import ResultsRow, load_row, markdown
from earmark.runs.split_settings import read_split_settings
from earmark.scoring.diagnosis import diagnose
from earmark.scoring.extra_metrics import ExtraMetrics, MetricFunction
from earmark.scoring.inference import Scorer
from earmark.scoring.table import score_table_with
from earmark.scoring.torch_scorer import TorchScorer
from earmark.settings.config_files import GIVEN, resolved_config
from earmark.settings.evaluation_flags import EvaluateOptions
from earmark.store.scan import write_bad_audio
from earmark.store.usable import keep_usable
from earmark.tasks import find_task
from earmark.text import and_more, counted

logger = logging.getLogger(__name__)


@dataclass
class EvaluateOutcome:
    """Result of an evaluation.

    Attributes:
        folder: folder of the files.
        metrics: all metrics of the split.
        summary: text to print, with the paths of the files.
    """

    folder: Path
    metrics: dict[str, Any]
    summary: str


def evaluate(
    options: EvaluateOptions, *, metrics: Mapping[str, MetricFunction] | None = None, loaded: Splits | None = None
) -> EvaluateOutcome:
    """Score a split, and write its metrics, predictions and row of the results table.

    :mod:`earmark.evaluate.place` chooses the folder. An evaluation of other clips is never overwritten.

    Args:
        options: model, data and output settings.
        metrics: metric functions by name, computed in addition to the built-in metrics.
        loaded: the data, if it is already loaded; see :func:`earmark.sources.load_clips.load_splits`.

    Raises:
        EarmarkError: the model, the data or the device cannot be used; the model does not know a label; or
            ``--output_dir`` holds another evaluation.
    """
    if loaded is None:
        check_given_files(options)
    with no_empty_folder(first_place(options)[0]):
        return _evaluate(options, metrics, loaded)


def _evaluate(
    options: EvaluateOptions, metrics: Mapping[str, MetricFunction] | None, loaded: Splits | None
) -> EvaluateOutcome:
    audio = _load(options, has_clips=loaded is not None)
    options = for_task(options, audio)
    scorer, device_name = on_device(audio, options.device)
    held_out = find_held_out(options, loaded)
    logger.info("%s", describe_classes({options.split: held_out.table}))
    check_labels(table := held_out.table, audio.labels)
    prepare_folder(first_place(options)[0])  # fails before clips are decoded if the folder cannot be written
    usable, bad = keep_usable({options.split: table}, scorer.sampling_rate_hz, options)
    table = usable[options.split].table
    what = describe(options, table)
    folder = place_for(options, what)
    write_json(folder.evaluation, what)
    bad += [("unknown", clip) for clip in held_out.bad]
    if bad:
        write_bad_audio(folder.bad_audio, bad)
    began_s = time.perf_counter()
    logits = score_table_with(
        scorer, usable[options.split].waveforms, batch_size=options.per_device_eval_batch_size, what="evaluating"
    )
    scored_s = time.perf_counter() - began_s
    extra = ExtraMetrics(options.metric, metrics or {})
    judged = judge(logits, table, audio.labels, extra, audio.decision)
    judged = dataclasses.replace(judged, trained_on=held_out.trained_on(usable[options.split]), scored_s=scored_s)
    return _write(folder, judged, usable[options.split].durations_s, audio.architecture, options, device_name)


def _load(options: EvaluateOptions, *, has_clips: bool) -> AudioModel | ExportedModel:
    """Load the model, and check that clips which are already loaded were read for its task.

    Raises:
        UsageError: the clips were read for another task.
    """
    read_for = find_task(options.task)
    try:
        audio = load_any(model_source(options))
        task = audio.task
    except OtherTaskError as exc:
        if not has_clips:
            raise
        task = exc.stated
    if has_clips and task is not read_for:
        raise UsageError(
            f"these clips were loaded for the task {read_for.name}, and the model was trained for {task.name}. "
            f"Load them with task={task.name!r}."
        )
    return audio


_Options = TypeVar("_Options", bound=EvaluateOptions)


def for_task(options: _Options, audio: AudioModel | ExportedModel) -> _Options:
    """Return the settings with the task of the model, which determines how the labels of the recordings are read.

    If the user names no column, numbers are read from the column that the model was trained on. If the training command
    named the default column ``label``, the evaluation treats that column as named by its user.
    """
    task, name = audio.task, "label_column_name"
    changes: dict[str, Any] = {"task": task.name}
    if options.is_set(name):
        pass
    elif not task.has_classes and audio.labels[0] != NUMBER:
        changes[name] = audio.labels[0]
    elif name in read_split_settings(options.model_name_or_path).get(GIVEN, ()):
        changes["given"] = options.given | {name}
    return dataclasses.replace(options, **changes)


def on_device(audio: AudioModel | ExportedModel, device: str) -> tuple[Scorer, str]:
    """Return the model for the inference loop, and the name of its device for a results table."""
    if isinstance(audio, ExportedModel):
        exported = audio.scorer(device)
        return exported, exported.runner.device
    place = select_device(device)
    audio.model.to(place)
    logger.info("device: %s, %s", place, describe_device(place))
    return TorchScorer(audio.model, audio.frontend, place), describe_device(place)


def check_labels(table: ClipTable, known: list[str]) -> None:
    """Check that every clip has a label that the model knows.

    Raises:
        DataError: a clip has no label, or one that the model does not know.
    """
    unlabelled = [clip.source for clip in table if clip.label is None]
    if unlabelled:
        raise DataError(
            f"{unlabelled[0]}: no label, one of {counted(len(unlabelled), 'clip')} without a label. Add the labels, or "
            "remove the rows."
        )
    unknown = sorted(set(table.labels()) - set(known))
    if unknown:
        shown = ", ".join(repr(label) for label in unknown[:10])
        raise DataError(
            f"{table.origin}: {counted(len(unknown), 'label')} that the model does not know: {shown}. Use its classes: "
            f"{and_more([repr(label) for label in known], 20)}."
        )


def _write(
    folder: RunFolder,
    judged: Judged,
    durations_s: np.ndarray,
    architecture: str,
    options: EvaluateOptions,
    device_name: str,
) -> EvaluateOutcome:
    metrics = judged.to_dict()
    write_json(folder.metrics, {options.split: metrics})
    _write_example_results(folder, judged, options)
    write_json(folder.environment, describe_environment(device_name))
    write_predictions(folder, options.split, judged)
    row = _row(judged, architecture, options, device_name)
    row.save(folder)
    lines = [f"{options.split}: {line}" for line in judged.summary_lines()]
    lines += [f"decision: {line}" for line in judged.decision.in_words(judged.labels)]
    warnings = [*judged.warnings(), *diagnose(judged.metrics)]
    fitted_on = None if judged.decision.is_plain else judged.decision.fitted.get("recordings")
    if fitted_on == fingerprint(judged.table):
        warnings.append(
            "temperature and thresholds were fitted on these clips, so metrics that use them are slightly too good"
        )
    lines += [f"warning: {line}" for line in warnings]
    lines += ["", markdown([row]), "", f"metrics      {folder.metrics}"]
    lines += [f"predictions  {folder.predictions(options.split)}"]
    if options.report:
        facts = _facts(architecture, options, device_name, judged.table.origin, warnings)
        write_report(folder.report, facts, {options.split: ScoredSplit(judged, durations_s)})
        lines += [f"report       {folder.report}"]
    return EvaluateOutcome(folder.path, metrics, "\n".join(lines))


def _write_example_results(folder: RunFolder, judged: Judged, options: EvaluateOptions) -> None:
    """Write the result files of Transformers' example with the metrics of the evaluated split.

    If ``--output_dir`` names the run of the model, as in two commands with ``--do_train`` and ``--do_eval``, write the
    validation metrics there as well, because scripts read them there.
    """
    results = eval_results(judged, clips_a_batch=options.per_device_eval_batch_size)
    write_eval_results(folder, results)
    named = RunFolder(Path(options.output_dir or folder.path))
    runs = [run.path.resolve() for run in run_folders(options.model_name_or_path)]
    if options.split == "validation" and named.is_run() and named.path.resolve() in runs:
        write_eval_results(named, results, keep_train=True)


def _facts(
    architecture: str, options: EvaluateOptions, device_name: str, data: str, warnings: list[str]
) -> ReportFacts:
    model = Path(str(options.model_name_or_path)).expanduser()
    name = model.resolve().name if model.exists() else hub_name(str(options.model_name_or_path))
    return ReportFacts(
        title=f"{name} on {data}",
        model={"": architecture},
        settings=resolved_config(options),
        environment=describe_environment(device_name),
        history=read_history(model),
        group_column=options.group_column,
        warnings=warnings,
    )


def _row(judged: Judged, architecture: str, options: EvaluateOptions, device_name: str) -> ResultsRow:
    """Return the results row of the model's run, or a new row, with the metrics of this evaluation."""
    model = Path(str(options.model_name_or_path)).expanduser()
    trained = load_row(model) if RunFolder(model).results_row.is_file() else None
    return ResultsRow(
        architecture=architecture,
        pretrained=trained.pretrained if trained else model.name,
        recipe=trained.recipe if trained else "",
        device=trained.device if trained else device_name,
        samples_per_second=trained.samples_per_second if trained else None,
        value=judged.metrics.headline.value,
        baseline=judged.metrics.headline.baseline,
        metric=judged.metrics.headline.title,
        split=options.split,
    )
