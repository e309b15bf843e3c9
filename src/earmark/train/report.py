"""Write the reports of a finished run: metrics, predictions, results row, model card and page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.trainer_utils import SchedulerType

from earmark.device import describe_device
from earmark.io.atomic import writing
from earmark.profiling.profile_session import TABLE
from earmark.report.report_page import ReportFacts, ScoredSplit, write_report
from earmark.runs.card import CardFacts, model_card
from earmark.runs.environment import describe_environment
from earmark.runs.example_results import (
    earlier_train_results,
    eval_results,
    scalars,
    speed,
    write_results,
    write_state,
)
from earmark.runs.folder import RunFolder, finite, write_json
from earmark.runs.judged import Judged, write_predictions
from earmark.runs.results import ACCURACY, ResultsRow, markdown
from earmark.scoring.decide import summary_line
from earmark.scoring.diagnosis import Schedule, diagnose_splits
from earmark.settings.config_files import read_config_file
from earmark.settings.data_flags import paths_in
from earmark.text import counted
from earmark.train.arguments import EarmarkTrainingArguments
from earmark.train.augmentation import describe_settings
from earmark.train.callbacks import stopped_early
from earmark.train.finished import FinishedTraining, TrainingFigures
from earmark.train.plan import Plan
from earmark.train.prepared_data import PreparedData
from earmark.train.recipe import is_wav2vec2_base


@dataclass(frozen=True)
class RunResults:
    """A run that is trained and evaluated.

    Attributes:
        plan: the plan of the run.
        prepared: its clips.
        training: the results of training.
        figures: length and speed of training.
        judged: evaluation by split: validation and test, if there are such clips.
    """

    plan: Plan
    prepared: PreparedData
    training: FinishedTraining
    figures: TrainingFigures
    judged: Mapping[str, Judged]

    @property
    def device_name(self) -> str:
        """Name of the device, for tables and cards."""
        return describe_device(self.training.args.device)


def write_reports(results: RunResults) -> tuple[dict[str, Any], str]:
    """Write metrics, training history, predictions, the results row, the model card and, with ``--report``, the page.

    Returns:
        ``(metrics, summary)``: the content of ``metrics.json``, and a text for the terminal.
    """
    folder, training, judged = results.plan.folder, results.training, results.judged
    metrics = {"train": results.figures.to_dict(), **{split: one.to_dict() for split, one in judged.items()}}
    write_json(folder.metrics, metrics)
    write_json(folder.history, finite(training.state.log_history))
    write_results(folder, _train_results(results), _evaluation(training, judged))
    write_state(folder, training.state)
    for split, one in judged.items():
        write_predictions(folder, split, one)
    with writing(folder.card) as stream:
        stream.write(model_card(_card_facts(results)))
    lines = [f"{split}: {line}" for split, one in judged.items() for line in one.summary_lines()]
    lines += [f"decision: {line}" for line in training.audio.decision.in_words(training.audio.labels)]
    if judged:
        warnings = _warnings(results)
        lines += [f"warning: {line}" for line in warnings]
        if results.plan.run.report:
            _write_page(results, warnings)
    row = _results_row(results)
    row.save(folder)  # last, because a cross-validation skips runs that have this file
    lines += ["", markdown([row]), "", *_paths(folder, judged)]
    return metrics, "\n".join(lines)


def _warnings(results: RunResults) -> list[str]:
    """Return warnings about the metrics: training clips among the evaluated ones, and signs of failed training."""
    training, figures, model = results.training, results.figures, results.plan.model
    schedule = Schedule(
        figures.steps,
        figures.learning_rate,
        figures.global_batch_size,
        results.plan.pretrained,
        is_wav2vec2_base(training.audio.model.config, training.audio.family, training.args, model.freeze),
        stopped_early(training.args, training.state),
    )
    leaks = [f"{name}: {line}" for name, one in results.judged.items() for line in one.warnings()]
    return [*leaks, *diagnose_splits({name: one.metrics for name, one in results.judged.items()}, schedule)]


def last_figures(training: FinishedTraining, judged: Mapping[str, Judged]) -> dict[str, float]:
    """Return the metrics of the saved model, with the prefixes ``eval_`` and ``test_``."""
    test = scalars(judged["test"].metrics) if "test" in judged else {}
    return {**(_evaluation(training, judged) or {}), **{f"test_{name}": value for name, value in test.items()}}


def _evaluation(training: FinishedTraining, judged: Mapping[str, Judged]) -> dict[str, float] | None:
    """Return the validation metrics; ``None`` without ``--do_eval``, as in Transformers' example."""
    args = training.args
    if not args.do_eval or "validation" not in judged:
        return None
    clips_a_batch = args.eval_batch_size * args.world_size
    return eval_results(judged["validation"], clips_a_batch=clips_a_batch, epoch=training.state.epoch or 0.0)


def _train_results(results: RunResults) -> dict[str, object]:
    """Return the content of ``train_results.json``.

    It is Trainer's last log entry with ``train_samples``. A resumed run with no step left to train keeps the values of
    the earlier start.
    """
    training, figures = results.training, results.figures
    common = {"train_samples": training.num_clips, "epoch": figures.epochs}
    if figures.few_shot is not None:  # a fit of the head has no steps and no training loss
        measured = speed("train", figures.training_s, samples=training.trained_clips, steps=0)
        return {**measured, "total_flos": training.state.total_flos, **common}
    if training.trained_clips == 0 and (earlier := earlier_train_results(results.plan.folder)):
        return {**earlier, **common}
    log = training.state.log_history
    logged: dict[str, Any] = next((row for row in reversed(log) if "train_runtime" in row), {})
    return {**{name: value for name, value in logged.items() if name != "step"}, **common}


def _write_page(results: RunResults, warnings: list[str]) -> None:
    folder, training, judged = results.plan.folder, results.training, results.judged
    splits = results.prepared.evaluated()
    order = sorted(judged, key=lambda split: split != "test")  # test first, as in the results row
    frontend = training.audio.frontend
    facts = ReportFacts(
        title=folder.path.resolve().name,
        model={
            "": training.audio.model.config.model_type,
            "parameters": f"{sum(parameter.numel() for parameter in training.audio.model.parameters()):,}",
            "longest clip": f"{frontend.max_samples / frontend.sampling_rate_hz:g} s",
            "rate": f"{frontend.sampling_rate_hz} Hz",
        },
        settings=read_config_file(folder.config) if folder.config.is_file() else {},
        environment=describe_environment(results.device_name),
        history=training.state.log_history,
        group_column=results.plan.data.group_column,
        warnings=warnings,
    )
    write_report(
        folder.report, facts, {split: ScoredSplit(judged[split], splits[split].durations_s) for split in order}
    )


def _results_row(results: RunResults) -> ResultsRow:
    """Return the results row with the metric of the test split, else of the validation split, else only the speed."""
    training, judged, name = results.training, results.judged, results.plan.model.model_name_or_path
    world, speed = training.args.world_size, results.figures.samples_per_second
    split = next((name for name in ("test", "validation") if name in judged), "none")
    headline = judged[split].metrics.headline if judged else None
    return ResultsRow(
        architecture=training.audio.architecture,
        pretrained=Path(name).name if name else "from scratch",
        recipe=results.plan.folder.path.name,
        device=f"{world} x {results.device_name}" if world > 1 else results.device_name,
        samples_per_second=None if speed is None else round(speed, 1),
        value=headline.value if headline else None,
        baseline=headline.baseline if headline else None,
        split=split,
        metric=headline.title if headline else ACCURACY,
    )


def dataset_name(data: Any) -> str:
    """Return a name for the data, for a model card."""
    name = data.dataset_name
    if name and Path(name).exists():
        name = Path(name).resolve().name  # without the path of the folder, which is private
    named = " ".join(part for part in (name, data.dataset_config_name) if part)
    folders = paths_in(data.data_dir)[1 if name else 0 :]  # --data_dir may name a part of --dataset_name
    places = [*folders, *paths_in(data.train_file)] or ([] if named else paths_in(data.eval_file))
    return ", ".join(filter(None, [named, *(Path(place).resolve().name for place in places)])) or "unnamed recordings"


def _card_facts(results: RunResults) -> CardFacts:
    plan, training, judged = results.plan, results.training, results.judged
    frontend = training.audio.frontend
    augmentation = describe_settings(training.args, results.prepared.sounds)
    environment = describe_environment(results.device_name)
    packages = environment.pop("packages")
    assert isinstance(packages, dict)
    return CardFacts(
        name=plan.folder.path.resolve().name,
        architecture=training.audio.architecture,
        base_model=plan.model.model_name_or_path,
        dataset=dataset_name(plan.data),
        labels=training.audio.labels,
        sampling_rate_hz=frontend.sampling_rate_hz,
        max_length_s=frontend.max_samples / frontend.sampling_rate_hz,
        splits={split: one.metrics for split, one in judged.items()},
        training=_training_facts(results.figures, training.args, augmentation),
        environment={**environment, **packages},
        decision=_decision_lines(training, judged),
        rejects=training.audio.decision.reject_label if training.audio.decision.rejects else None,
        task=training.audio.task,
        imported_first=training.audio.family.imported_by_users,
    )


def _decision_lines(training: FinishedTraining, judged: Mapping[str, Judged]) -> list[str]:
    decision = training.audio.decision
    how_good = [f"{name}: {summary_line(decision, one.decided)}" for name, one in judged.items() if one.decided]
    return [*decision.in_words(training.audio.labels), *(line for line in how_good if not line.endswith(": "))]


def _training_facts(figures: TrainingFigures, args: EarmarkTrainingArguments, augmentation: str) -> dict[str, object]:
    """Return facts about the training, for a model card."""
    speed = figures.samples_per_second
    clips_a_second = "nothing was trained" if speed is None else f"{speed:.1f}"
    if (fitted := figures.few_shot) is not None:
        figure = fitted.cross_validated
        return {
            "head": f"{fitted.method} on embeddings of {counted(fitted.clips, 'clip')} in {fitted.precision}, "
            f"penalty C {fitted.penalty_c:g}",
            f"{fitted.title} across folds of these clips": "not known" if figure is None else f"{figure:.4f}",
            "seed": args.seed,
            "clips a second, embedded and fitted": clips_a_second,
        }
    return {
        "epochs": f"{figures.epochs:g}",
        "optimizer steps": figures.steps,
        "clips a step": figures.global_batch_size,
        "peak learning rate": f"{figures.learning_rate:g}",
        "schedule": f"{SchedulerType(args.lr_scheduler_type).value}, warm-up {args.warmup_steps:g}",
        "seed": args.seed,
        "augmentation": augmentation,
        "trained clips a second": clips_a_second,
    }


def _paths(folder: RunFolder, judged: Mapping[str, Judged]) -> list[str]:
    rows = [
        ("model", folder.path),
        ("metrics", folder.metrics),
        *((f"predictions ({split})", folder.predictions(split)) for split in judged),
        ("model card", folder.card),
        *([("report", folder.report)] if folder.report.exists() else []),
        ("settings", folder.config),
    ]
    if (profile := folder.profile / TABLE).exists():
        rows.append(("profile", profile))
    if folder.bad_audio.exists():
        rows.append(("left out", folder.bad_audio))
    width = max(len(name) for name, _ in rows)
    return [f"{name.ljust(width)}  {path}" for name, path in rows]
