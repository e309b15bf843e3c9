"""``earmark search``: train many runs with settings that Optuna chooses by the results of earlier runs.

Each trial is a run in its own folder (:mod:`earmark.train.sweep`), so every flag can be searched, and an interrupted
trial resumes from its checkpoint. Trainer's own search with Optuna could only change ``TrainingArguments``, not the
settings of model and data, and could not continue an earlier search. Each trial reports its evaluations to Optuna,
which may end it early. The test split is not used.
"""

from __future__ import annotations

import logging
import math
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch.distributed as dist
from transformers import TrainerCallback

from earmark.distributed.ranks import on_main_process, rank_and_world
from earmark.errors import (
    DataError,
    EarmarkError,
    MissingExtraError,
    ModelError,
    NetworkError,
    OutputError,
    Stopped,
    UsageError,
)
from earmark.extras import require
from earmark.runs.folder import RunFolder, write_json
from earmark.settings.config_files import save_config, saved_config
from earmark.settings.search_flags import SearchOptions
from earmark.settings.train_settings import TRAIN_CLASSES, TrainSettings
from earmark.tasks import find_task
from earmark.tasks.figures import metric_key
from earmark.train.custom import NOTHING, CustomParts
from earmark.train.plan import judged_by
from earmark.train.search_space import Dimension, parse_space
from earmark.train.sweep import (
    EndedEarly,
    changed_settings,
    free_memory,
    holds_others,
    remove_runs,
    sweep_folder,
    train_one,
)
from earmark.train.trials import STORAGE, TrialJob, Trials

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

logger = logging.getLogger(__name__)

SETTINGS, RESULTS, BEST = "search.yaml", "search.json", "best.yaml"
_FUTILE_TRIALS = 3  # if this many first trials all fail, the searched values are probably not the cause
_ENDS_THE_SEARCH = (Stopped, OutputError, NetworkError, MissingExtraError)
_WEIGHTS = ("model*.safetensors", "model.safetensors.index.json", "adapter_model.safetensors")


@dataclass(frozen=True)
class SearchOutcome:
    """The results of a search.

    Attributes:
        folder: the output folder.
        rows: the row of each trial in ``search.json``.
        best: name of the best trial; ``None`` if no trial has finished.
        summary: the results as text, with the best settings.
    """

    folder: Path
    rows: list[dict[str, Any]]
    best: str | None
    summary: str


def search(options: SearchOptions, settings: TrainSettings, *, custom: CustomParts = NOTHING) -> SearchOutcome:
    """Train until there are ``options.trials`` trials, including trials of earlier calls; return the best settings.

    Args:
        options: search space and number of trials.
        settings: settings of all trials, except the searched ones; a test split is not loaded.
        custom: objects and functions for each trial.

    Raises:
        EarmarkError: the search space is invalid, the output folder belongs to another search, none of the first trials
            could be trained, or an error is not caused by the settings of a trial.
    """
    require("optuna")  # before anything is written
    run, training = settings.run, settings.training
    _refuse_several_runs(settings)
    space = parse_space(options.search_space, TRAIN_CLASSES)
    for one in space:
        for value in one.extremes():
            _with_values(settings, {one.name: value})
    task = find_task(settings.data.task)
    judged = judged_by(training, task, has_more_metrics=run.metric is not None)
    metric, maximize = metric_key(judged.metric_for_best_model), bool(judged.greater_is_better)
    saved = {"search_space": options.search_space, **settings.to_dict()}
    with sweep_folder(settings) as output:
        on_main_process(lambda: _begin(output, saved, replace=run.overwrite_output_dir and not run.resume))
        trials = None
        if rank_and_world()[0] == 0:
            trials = Trials(output, space, maximize=maximize, seed=training.seed, prune=options.prune)
        try:
            _run_trials(trials, options.trials, output, settings, metric, custom)
            outcome = on_main_process(lambda: _outcome(trials, output, space, settings, metric))
            if rank_and_world()[1] > 1:
                dist.barrier()  # so that rank 0 does not end while the other ranks still wait for it
            return outcome
        finally:
            if trials is not None:
                trials.close()


def _with_values(settings: TrainSettings, values: Mapping[str, object]) -> TrainSettings:
    """Return the settings of a trial.

    Raises:
        UsageError: a value that its flag refuses.
    """
    try:
        return settings.changed(**values)
    except UsageError as exc:
        raise UsageError(f"--search_space: {exc}") from exc


def _refuse_several_runs(settings: TrainSettings) -> None:
    if settings.has_several_runs:
        raise UsageError("each trial of a search is one run. Name one fold with --fold, and leave --seeds out.")
    if settings.data.validation_fraction == 0:
        raise UsageError("--validation_fraction 0 leaves no clips to compare trials on. Leave it out.")


def _begin(output: Path, settings: dict[str, object], *, replace: bool) -> None:
    """Prepare the folder, and save the settings of all trials or compare them with the saved ones."""
    if RunFolder(output).is_run():
        raise OutputError(f"{output}: holds a run, not a search. Name another --output_dir.")
    place = output / SETTINGS
    if replace:
        remove_runs(output.glob("trial_*"))
        for name in (STORAGE, RESULTS, BEST, SETTINGS):  # settings last, because they mark the folder as a search
            (output / name).unlink(missing_ok=True)
    if not place.is_file():
        there = [name for name in (STORAGE, RESULTS, BEST) if (output / name).exists()]
        if there:
            raise OutputError(f"{output}: holds {there[0]}, which a search would overwrite. Name another --output_dir.")
        save_config(settings, place)
        return
    before = saved_config(place)
    if changed := changed_settings(before, settings):
        raise holds_others(output, "a search", changed)


def _run_trials(
    trials: Trials | None, most: int, output: Path, settings: TrainSettings, metric: str, custom: CustomParts
) -> None:
    """Train one trial after another. Only rank 0 has ``trials`` and tells the other ranks the next job."""
    while (job := on_main_process(lambda: _next_job(trials, most, output))) is not None:
        logger.info("%s of %d: %s", job.name, most, _shown(job.values))
        watch = _Watch(trials, metric)
        _run_one(trials, job, most, watch, partial(_train, job, settings, watch, custom))
        free_memory()


def _run_one(trials: Trials | None, job: TrialJob, most: int, watch: _Watch, train: Callable[[], float]) -> None:
    """Train one trial, and record how it ended.

    Raises:
        EarmarkError: see :func:`_record_failure`; or an error that no trial causes, such as a signal or a full disk.
    """
    try:
        value = train()
    except EndedEarly:
        logger.info("%s: ended early, because it was worse than half of the other trials at this point", job.name)
        on_main_process(lambda: _held_by_main(trials).pruned())
    except _ENDS_THE_SEARCH:
        raise
    except EarmarkError as exc:
        _record_failure(trials, job, most, watch, exc)
    else:
        logger.info("%s: %s %.4f", job.name, watch.metric, value)
        on_main_process(lambda: _held_by_main(trials).finished(value))


def _held_by_main(trials: Trials | None) -> Trials:
    assert trials is not None, "only rank 0 has the trials"
    return trials


def _next_job(trials: Trials | None, most: int, output: Path) -> TrialJob | None:
    held = _held_by_main(trials)
    _write(held, output)
    return held.next(most)


def _train(job: TrialJob, settings: TrainSettings, watch: _Watch, custom: CustomParts) -> float:
    """Train one trial, or resume it, and return its metric on the validation clips."""
    trial, custom = _with_values(settings, job.values), replace(custom, callbacks=[*custom.callbacks, watch])
    outcome = train_one(trial, job.name, custom=custom, with_test=False, report=False)
    return on_main_process(lambda: _value(outcome.metrics["validation"], watch.metric))


def _value(metrics: dict[str, Any], metric: str) -> float:
    """Return the metric by which trials are compared.

    Raises:
        ModelError: the metric is undefined.
    """
    value = {**metrics.get("metric_folder", {}), **metrics}[metric]
    if value is None:
        raise ModelError(
            f"{metric} is undefined for the predictions of this model. Choose another --metric_for_best_model."
        )
    return float(value)


def _record_failure(trials: Trials | None, job: TrialJob, most: int, watch: _Watch, error: EarmarkError) -> None:
    """Record that a trial failed, or end the search.

    Raises:
        EarmarkError: the error of the trial, if other ranks may be waiting, or if it is probably not caused by the
            values of the trial: it is about the data before any trial has ended, or none of the first trials has
            trained.
    """
    held = None if rank_and_world()[1] > 1 else _held_by_main(trials)
    of_all = isinstance(error, DataError) and not watch.has_begun
    if held is None or (of_all and not [row for row in held.rows() if row["state"] != "interrupted"]):
        error.args = (f"{job.name} ({_shown(job.values)}): {error}",)
        raise error
    logger.warning("%s: failed: %s", job.name, error)
    held.failed(str(error), trained=watch.has_begun)
    futile = held.num_futile()
    if futile >= min(_FUTILE_TRIALS, most):
        error.args = (
            f"none of the first {futile} trials could be trained; the last of them, {job.name} "
            f"({_shown(job.values)}): {error}",
        )
        raise error


class _Watch(TrainerCallback):
    """Reports each evaluation to Optuna, and ends the trial if Optuna prunes it.

    Attributes:
        metric: the metric by which trials are compared.
        has_begun: whether the first training step has begun.
    """

    def __init__(self, trials: Trials | None, metric: str) -> None:
        self._trials = trials
        self.metric = metric
        self.has_begun = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self.has_begun = True

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        step = round(state.epoch) if args.eval_strategy == "epoch" else state.global_step
        value = kwargs["metrics"][f"eval_{self.metric}"]
        if math.isnan(value):
            return
        to_prune = on_main_process(lambda: _held_by_main(self._trials).report(step, value))
        # a trial that a signal or early stopping has ended must not count as pruned
        if to_prune and state.global_step < state.max_steps and not control.should_training_stop:
            raise EndedEarly("pruned")


def _write(trials: Trials, output: Path) -> None:
    """Update ``search.json``, and delete the weights of all but the best trial to save disk space."""
    write_json(output / RESULTS, {"best": trials.best(), "trials": trials.rows()})
    for row in trials.rows():
        if row["state"] == "interrupted":
            continue
        folder = output / row["trial"]
        patterns = ["checkpoint-*", ".unfinished-checkpoint"]
        patterns += [] if row["trial"] == trials.best() else list(_WEIGHTS)
        for path in (path for pattern in patterns for path in folder.glob(pattern)):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _outcome(
    trials: Trials | None, output: Path, space: Sequence[Dimension], settings: TrainSettings, metric: str
) -> SearchOutcome:
    held = _held_by_main(trials)
    _write(held, output)
    rows, best = held.rows(), held.best()
    lines = _table(rows, space, metric)
    if best is None:
        return SearchOutcome(output, rows, None, "\n".join([*lines, "", "no trial has finished"]))
    values = next(row["values"] for row in rows if row["trial"] == best)
    again = _with_values(settings, values).changed(output_dir=str(output / "best"))
    save_config(again.to_dict(), output / BEST)
    lines += [
        "",
        f"best     {output / best}",
        "         Its validation metric is too good, because it is the best of several. Evaluate it on a test split.",
        f"values   {' '.join(f'--{name} {shlex.quote(str(value))}' for name, value in values.items())}",
        f"again    earmark train --config {shlex.quote(str(output / BEST))}",
        f"trials   {output / RESULTS}",
    ]
    return SearchOutcome(output, rows, best, "\n".join(lines))


def _table(rows: Sequence[dict[str, Any]], space: Sequence[Dimension], metric: str) -> list[str]:
    table = [["Trial", f"Validation {metric}", *(one.name for one in space), "State"]]
    for row in rows:
        value = "" if row["value"] is None else f"{row['value']:.4f}"
        state = f"{row['state']}: {row['why']}" if row["why"] else row["state"]
        table.append([row["trial"], value, *(_word(row["values"].get(one.name)) for one in space), state])
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]) - 1)]
    lines = []
    for *cells, state in table:
        lines.append(" | ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)), state]))
    lines.insert(1, " | ".join(["-" * width for width in widths] + ["-----"]))
    return [f"| {line} |" for line in lines]


def _shown(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_word(value)}" for name, value in values.items())


def _word(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
