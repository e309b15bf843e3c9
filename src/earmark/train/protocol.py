"""Train several runs and combine their metrics: cross-validation over folds, several seeds, or both.

:mod:`earmark.train.sweep` trains, resumes and stops each run.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from earmark.clips.clip import Splits
from earmark.distributed.ranks import on_each_machine, on_main_process
from earmark.errors import OutputError, UsageError
from earmark.runs.folder import RunFolder, prepare_output_dir, read_json, write_json
from earmark.settings.config_files import save_config, saved_config
from earmark.settings.data_flags import DataArguments
from earmark.settings.model_flags import ModelArguments
from earmark.settings.run_flags import RunArguments
from earmark.settings.train_settings import TrainSettings
from earmark.sources.load_clips import load_folds, load_splits
from earmark.sources.source import HubAccess
from earmark.store.scan import check_tables
from earmark.tasks import Task, find_task
from earmark.text import and_more, markdown_table
from earmark.train.custom import NOTHING, CustomParts
from earmark.train.sweep import changed_settings, holds_others, remove_runs, sweep_folder, train_one

logger = logging.getLogger(__name__)

_NAMED = 4
_FOLD_NAME = re.compile(r"[\w.-]+")
_CHILD = re.compile(r"fold_.+|seed_\d+")


@dataclass(frozen=True)
class Part:
    """One run of a protocol.

    Attributes:
        folder: the run folder.
        seed: the seed of the run.
        fold: the fold that the run is tested on; ``None`` without folds.
    """

    folder: Path
    seed: int
    fold: str | None

    def name_in(self, output: Path) -> str:
        """Return the path of the run folder relative to the output folder, e.g. ``seed_0/fold_3``."""
        return self.folder.relative_to(output).as_posix()


@dataclass(frozen=True)
class _Plan:
    """All runs of a protocol, and facts to recognise it: settings, names of functions, a fingerprint of the clips."""

    output: Path
    task: Task
    parts: list[Part]
    clips: str
    functions: dict[str, str]
    settings: dict[str, Any]


@dataclass(frozen=True)
class ProtocolOutcome:
    """Result of a protocol.

    Attributes:
        folder: the output folder.
        results: content of ``cross_validation.json``; empty on ranks other than 0.
        summary: the results as text.
    """

    folder: Path
    results: dict[str, Any]
    summary: str


def run_protocol(settings: TrainSettings, *, custom: CustomParts = NOTHING) -> ProtocolOutcome:
    """Train one run for each fold, each seed, or each fold with each seed, and combine their metrics.

    Runs are in ``fold_K``, ``seed_S`` or ``seed_S/fold_K`` of the output folder. ``cross_validation.json`` there has
    the metrics of the finished runs and is updated after each run. Finished runs are kept and an interrupted run is
    resumed; ``overwrite_output_dir`` without ``resume`` trains all of them again.

    Args:
        settings: settings of all runs.
        custom: objects and functions for each run.

    Raises:
        EarmarkError: folds cannot be used, the runs in the folder have other settings or clips, or a run raises it.
    """
    with sweep_folder(settings) as output:
        return _run_all(output, settings, custom)


def _run_all(output: Path, settings: TrainSettings, custom: CustomParts) -> ProtocolOutcome:
    run = settings.run
    seeds = run.seed_list() or [settings.training.seed]
    folds, clips = on_each_machine(lambda: _look_at_data(settings.data, settings.model, seeds, custom.clips))
    parts = _parts(output, run, seeds, folds)
    plan = _Plan(output, find_task(settings.data.task), parts, clips, custom.function_names(), settings.to_dict())
    done = on_main_process(lambda: _begin(plan, replace=run.overwrite_output_dir and not run.resume))
    for number, part in enumerate(parts, 1):
        name = part.name_in(output)
        if part in done:
            logger.info("run %d of %d, %s: finished already", number, len(parts), name)
            continue
        logger.info("run %d of %d, %s", number, len(parts), name)
        train_one(settings, name, custom=custom, fold=part.fold, seed=part.seed, seeds=None)
        done.append(part)
        on_main_process(lambda: _write(plan, done))
    return on_main_process(lambda: _outcome(plan, done))


def _look_at_data(
    data: DataArguments, model: ModelArguments, seeds: Sequence[int], loaded: Splits | None
) -> tuple[dict[int, list[str]], str]:
    """Return the folds of each seed, after checking all of them, and a fingerprint of the clips."""
    names: dict[int, list[str]] = {}
    hub = HubAccess.from_flags(model)
    digest = hashlib.sha256()
    for seed in seeds:
        if data.has_folds:
            folds = load_folds(data, seed=seed, hub=hub, loaded=loaded)
            names[seed] = [data.fold] if data.fold is not None else folds.names
            for name in names[seed]:
                check_tables(folds.splits(name, seed))
            alike = [] if seed != seeds[0] else [name for name in names[seed] if len(set(folds.labels_in(name))) == 1]
            if alike and find_task(data.task).has_classes:
                logger.warning("%s", _of_one_class([f"fold {name}" for name in alike], "Make other folds."))
            digest.update(folds.fingerprint().encode())
        else:
            splits = load_splits(data, seed=seed, hub=hub, loaded=loaded)
            for table in (splits.train, splits.validation, splits.test):
                rows = [(clip.source, clip.label, clip.offset_s) for clip in table or []]
                digest.update(repr(rows).encode("utf-8", "surrogateescape"))
    return names, digest.hexdigest()[:12]


def _parts(output: Path, run: RunArguments, seeds: Sequence[int], folds: Mapping[int, Sequence[str]]) -> list[Part]:
    parts = []
    for seed in seeds:
        place = output / f"seed_{seed}" if run.seeds is not None else output
        for fold in folds.get(seed, [None]):
            if fold is not None and not _FOLD_NAME.fullmatch(fold):
                raise UsageError(
                    f"the fold {fold!r} cannot be the name of a folder. Name folds with letters, digits, '.', '_', '-'."
                )
            parts.append(Part(place if fold is None else place / f"fold_{fold}", seed, fold))
    return parts


def _begin(plan: _Plan, *, replace: bool) -> list[Part]:
    """Prepare the output folder, save the settings, and return the finished runs."""
    output, folder = plan.output, RunFolder(plan.output)
    if replace:
        prepare_output_dir(folder, overwrite=True, resume=False)
        remove_runs(_earlier_runs(output))
    elif folder.is_run():
        _check_same(folder, plan)
    else:
        there = [path for path in _earlier_runs(output) if path in [part.folder for part in plan.parts]]
        if there:
            raise OutputError(
                f"{there[0]}: this run does not belong to a cross-validation in {output} (no {folder.config.name} "
                "there). Name another --output_dir, or replace it with --overwrite_output_dir."
            )
    prepare_output_dir(folder, overwrite=False, resume=True)
    if not folder.is_run():
        save_config(plan.settings, folder.config)
    done = [part for part in plan.parts if RunFolder(part.folder).results_row.is_file()]
    _write(plan, done)
    return done


def _earlier_runs(output: Path) -> list[Path]:
    """Return the runs in the folders that a protocol makes."""
    children = [path for path in (*output.glob("*"), *output.glob("seed_*/*")) if _CHILD.fullmatch(path.name)]
    return sorted(path for path in children if RunFolder(path).is_run())


def _check_same(folder: RunFolder, plan: _Plan) -> None:
    """Check that the runs in a folder have these settings and clips.

    Raises:
        OutputError: they have other settings or clips.
    """
    before = saved_config(folder.config)
    results = read_json(folder.cross_validation) if folder.cross_validation.is_file() else {}
    changed = changed_settings(before, plan.settings)
    changed += [
        f"{kind} {names} there, {plan.functions[kind]} here"
        for kind, names in results.get("functions", {}).items()
        if names != plan.functions[kind]
    ]
    if before.get("seeds") is None and (before.get("fold") or not (before.get("folds") or before.get("fold_column"))):
        what = "a single run"
    elif not _earlier_runs(plan.output):  # the first run never began, so the saved settings can be replaced
        save_config(plan.settings, folder.config)
        return
    elif changed:
        raise holds_others(folder.path, "runs", changed)
    elif results and results.get("clips") != plan.clips:
        what = "runs of other clips, labels or folds"
    else:
        return
    raise holds_others(folder.path, what)


def _write(plan: _Plan, done: Sequence[Part]) -> dict[str, Any]:
    """Write the metrics of the finished runs, and return them."""
    rows = [_row(part, plan) for part in plan.parts if part in done]
    common = [name for name in _figures(plan.task) if rows and all(row.get(name) is not None for row in rows)]
    results = {
        "clips": plan.clips,
        "functions": plan.functions,
        # which model each run keeps; --few_shot has no epochs to choose from
        "kept": "best" if plan.settings["load_best_model_at_end"] and not plan.settings["few_shot"] else "last",
        "runs": rows,
        "unfinished": [part.name_in(plan.output) for part in plan.parts if part not in done],
        "mean_and_deviation": {name: _spread([row[name] for row in rows]) for name in common},
    }
    seeds = list(dict.fromkeys(row["seed"] for row in rows))
    if any(row["fold"] is not None for row in rows) and len(seeds) > 1:
        results["means_of_seeds"] = {
            name: _spread([float(np.mean([row[name] for row in rows if row["seed"] == seed])) for seed in seeds])
            for name in common
        }
    write_json(RunFolder(plan.output).cross_validation, results)
    return results


def _row(part: Part, plan: _Plan) -> dict[str, Any]:
    metrics = read_json(RunFolder(part.folder).metrics)
    split = "test" if "test" in metrics else "validation"
    figures = {name: metrics[split][name] for name in _figures(plan.task) if name in metrics[split]}
    clips = metrics[split]["num_clips"]
    name = part.name_in(plan.output)
    return {"run": name, "seed": part.seed, "fold": part.fold, "split": split, "num_clips": clips, **figures}


def _figures(task: Task) -> list[str]:
    return list(dict.fromkeys([*task.titles, *task.metrics]))


def _spread(values: Sequence[float]) -> dict[str, object]:
    """Return the mean and the sample standard deviation (n - 1), which is ``None`` for one value."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "deviation": deviation, "runs": len(values)}


def _outcome(plan: _Plan, done: Sequence[Part]) -> ProtocolOutcome:
    results = _write(plan, done)
    return ProtocolOutcome(plan.output, results, _summary(plan, results))


def _summary(plan: _Plan, results: Mapping[str, Any]) -> str:
    titles = plan.task.titles
    shown = [name for name in titles if name in results["mean_and_deviation"]]
    header = ("Run", "Split", "Clips", *(titles[name] for name in shown))
    lines = [
        (row["run"], row["split"], f"{row['num_clips']:,}", *(f"{row[name]:.4f}" for name in shown))
        for row in results["runs"]
    ]
    spreads = {"mean ± deviation": results["mean_and_deviation"]}
    if "means_of_seeds" in results:
        spreads["mean ± deviation of seeds"] = results["means_of_seeds"]
    for name, spread in spreads.items():
        lines.append((name, "", "", *(_shown(spread[figure]) for figure in shown)))
    notes = []
    alike = [row["run"] for row in results["runs"] if row.get("majority_class_rate") == 1.0]
    if alike:
        notes.append(_of_one_class(alike, "The means include these metrics."))
    if results["kept"] == "best" and any(row["split"] == "validation" for row in results["runs"]):
        notes.append("the validation clips also selected the best model of each run, so these metrics look too good")
    return "\n".join(
        [*markdown_table([header, *lines]), "", *notes, f"metrics  {RunFolder(plan.output).cross_validation}"]
    )


def _of_one_class(names: Sequence[str], more: str) -> str:
    named = and_more(names, _NAMED)
    return f"all clips have one class in {named}, so macro-F1 and majority-class rate have no meaning for them. {more}"


def _shown(spread: Mapping[str, Any]) -> str:
    return f"{spread['mean']:.4f}" + ("" if spread["deviation"] is None else f" ± {spread['deviation']:.4f}")
