"""Compare runs with the first one, clip by clip, from their predictions (``earmark report RUN RUN...``).

Shapes: N clips, C classes or labels.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from earmark.clips.clip import Clip
from earmark.errors import DataError, UsageError
from earmark.io.nearby_names import path_suggestion
from earmark.report.verdict import p_text, p_title, verdict
from earmark.runs.folder import RunFolder
from earmark.runs.predictions import SPLITS, Predictions, read_predictions, splits_in
from earmark.stats.paired import Estimate, Paired, holm
from earmark.stats.uncertainty import Units
from earmark.tasks import Task
from earmark.tasks.report_section import ComparedClips
from earmark.text import counted, markdown_table

_NAMED = 3


@dataclass(frozen=True)
class RunResult:
    """A run in a comparison.

    Attributes:
        name: name in tables.
        predictions: class indices int (N,), labels as bool (N, C), or numbers float (N,).
        scores: probability of the predicted class, float (N,), or of each label, float (N, C); for a regression, the
            predicted numbers.
        figures: metrics with their 95 % intervals, by name.
        of_labels: metrics of each class or label, by name, float (C,); NaN for a label without clips.
    """

    name: str
    predictions: np.ndarray
    scores: np.ndarray
    figures: Mapping[str, Estimate]
    of_labels: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Comparison:
    """Runs that were scored on the same clips.

    Attributes:
        task: task of the runs.
        split: name of the split.
        labels: C class or label names; empty for a regression.
        clips: the N clips.
        targets: true labels or numbers, in the form of ``predictions``.
        trivial: score of a model that ignores the audio, by metric.
        runs: the runs; the others are compared with the first.
        pairs: comparison of each other run with the first.
        p: p values of the pairs, corrected by Holm's method if there are several.
        units: units of intervals and tests: groups or clips.
        notes: remarks about the metrics, such as clips that a run was trained on.
    """

    task: Task
    split: str
    labels: list[str]
    clips: list[Clip]
    targets: np.ndarray
    trivial: Mapping[str, float]
    runs: list[RunResult]
    pairs: list[Paired]
    p: list[float]
    units: Units
    notes: list[str]

    @property
    def about(self) -> str:
        """Describe the clips and their labels."""
        head = f"{self.split}: {counted(len(self.clips), 'clip')}"
        (name, value), *_ = self.trivial.items()
        classes = f", {self.task.counted_labels(len(self.labels))}" if self.labels else ""
        return f"{head}{classes}, {self.task.trivial_titles[name]} {self.figure(value)}"

    def summary(self) -> str:
        """Return tables to print."""
        first, titles = self.runs[0], self.task.titles
        lines: list[tuple[str, ...]] = [("Run", *(head for name in first.figures for head in (titles[name], "95 %")))]
        for run in self.runs:
            lines.append((run.name, *(cell for of in run.figures.values() for cell in self.cells(of))))
        better = self.task.better
        heads = [head for name in self.pairs[0].differences for head in (titles[name], "95 %")]
        against: list[tuple[str, ...]] = [
            (
                f"Against {first.name}",
                *heads,
                f"Only this run {better}",
                f"Only {first.name} {better}",
                p_title(self.task, self.units),
            )
        ]
        for run, pair, p in zip(self.runs[1:], self.pairs, self.p, strict=True):
            cells = (cell for of in pair.differences.values() for cell in self.cells(of, "+"))
            against.append((run.name, *cells, f"{pair.only_second:,}", f"{pair.only_first:,}", p_text(p)))
        return "\n".join(
            [self.about, *self.notes, "", *markdown_table(lines), "", *markdown_table(against), "", *self.verdicts()]
        )

    def verdicts(self) -> list[str]:
        """Return a sentence for each other run: better, worse or not different."""
        first, signed = self.runs[0].name, partial(self.cells, sign="+")
        return [
            verdict(run.name, first, pair, p, task=self.task, units=self.units, num_pairs=len(self.pairs), cells=signed)
            for run, pair, p in zip(self.runs[1:], self.pairs, self.p, strict=True)
        ]

    def figure(self, value: float, sign: str = "") -> str:
        """Format a fraction, or a number in its unit, for tables."""
        return f"{value:{sign}{self.task.digits}}"

    def cells(self, of: Estimate, sign: str = "") -> tuple[str, str]:
        """Format a metric and its interval for tables; ``sign`` is ``"+"`` for differences."""
        within = of.interval
        ends = "" if within is None else f"{self.figure(within.low, sign)} to {self.figure(within.high, sign)}"
        return self.figure(of.value, sign), ends


def compare_runs(folders: Sequence[str], split: str | None = None) -> Comparison:
    """Read the predictions of two or more runs, and compare them with the first.

    Args:
        folders: folders of runs, evaluations or cross-validations.
        split: ``test``, ``validation`` or ``unseen``; ``None`` for the first of these that all runs have.

    Raises:
        UsageError: there are fewer than two runs, or a run is named twice.
        DataError: predictions are missing, or are for other clips, other labels or another task.
    """
    for folder in folders:
        _check_holds_run(folder)
    if len(folders) < 2:
        folds = bool(folders) and any(Path(folders[0]).glob("fold_*"))
        one = f"{folders[0]}/fold_*/report.html for its folds" if folds else "RUN/report.html for one run"
        raise UsageError(f"a comparison needs two runs. Use earmark report RUN RUN..., or open {one}.")
    places = [Path(folder).resolve() for folder in folders]
    if len(set(places)) < len(places):
        raise UsageError(f"{Counter(map(str, places)).most_common(1)[0][0]}: named twice. Name each run once.")
    split = split or _common_split(folders)
    read = [_predictions(Path(folder), split) for folder in folders]
    read = [_like_first(folder, one, folders[0], read[0]) for folder, one in zip(folders, read, strict=True)]
    read = _numbered(read)
    first, names = read[0], _names(folders)
    units, notes = _units(names, read)
    notes = [*_trained_on(names, read), *notes]
    compared, trivial = read[0].task.compare(
        ComparedClips(first.targets, [(one.scores, one.predictions) for one in read], first.labels, units)
    )
    runs = [
        RunResult(name, one.predictions, one.scores, figures, of_labels)
        for name, one, figures, of_labels in zip(names, read, compared.figures, compared.of_labels, strict=True)
    ]
    return Comparison(
        task=first.task,
        split=split,
        labels=first.labels,
        clips=first.clips,
        targets=first.targets,
        trivial=trivial,
        runs=runs,
        pairs=compared.pairs,
        p=holm([pair.p for pair in compared.pairs]),
        units=units,
        notes=notes,
    )


def _check_holds_run(folder: str) -> None:
    """Check that a folder can be compared as one run.

    Raises:
        DataError: the folder has no predictions; the message names the runs in it, if there are any.
    """
    place = Path(folder)
    if splits_in(place):
        return
    runs = sorted(str(path) for path in place.glob("*") if splits_in(path))
    if not runs:
        if place.is_dir():
            raise DataError(f"{folder}: no predictions_SPLIT.csv in it. Run `earmark evaluate`, which writes the file.")
        raise DataError(f"{folder}: no such folder{path_suggestion(place, folders=True)}")
    of_seeds = " of several seeds" if any(place.glob("seed_*")) else ""
    more = " ..." if len(runs) > _NAMED else ""
    raise DataError(
        f"{folder}: not a run, but a folder of {counted(len(runs), 'run')}{of_seeds}. Name the runs to compare: "
        f"earmark report {' '.join(runs[:_NAMED])}{more}"
    )


def _common_split(folders: Sequence[str]) -> str:
    """Return the first split for which all runs have predictions.

    Raises:
        DataError: there is no such split.
    """
    there = {folder: splits_in(Path(folder)) for folder in folders}
    common = [name for name in SPLITS if all(name in splits for splits in there.values())]
    if not common:
        has = "; ".join(f"{folder} has {' and '.join(splits)} clips" for folder, splits in there.items())
        raise DataError(
            f"no split has predictions of all runs: {has}. Evaluate each with the same --split, then compare "
            "these evaluations."
        )
    return common[0]


def _predictions(place: Path, split: str) -> Predictions:
    """Return the predictions of a run, or of all folds of a cross-validation, which test each clip once.

    Raises:
        DataError: there are no predictions, or several for one clip.
    """
    own = RunFolder(place).predictions(split)
    folds = sorted(place.glob("fold_*"))
    if own.is_file() or not folds:
        others = splits_in(place)
        if others and split not in others:
            raise DataError(
                f"{place}: has predictions for {' and '.join(others)} clips, but not for {split} clips. Evaluate it "
                f"with --split {split}, or compare another split."
            )
        return read_predictions(own)
    if split != "test":
        raise DataError(f"{place}: several folds have the same {split} clips. Compare test clips with --split test.")
    read = [read_predictions(RunFolder(fold).predictions(split)) for fold in folds]
    read = [_with_labels(str(fold), one, str(folds[0]), read[0]) for fold, one in zip(folds, read, strict=True)]
    return replace(
        read[0],
        clips=[clip for one in read for clip in one.clips],
        targets=np.concatenate([one.targets for one in read]),
        predictions=np.concatenate([one.predictions for one in read]),
        scores=np.concatenate([one.scores for one in read]),
        trained_on=np.concatenate([one.trained_on for one in read]),
    )


def _with_labels(folder: str, read: Predictions, first_folder: str, first: Predictions) -> Predictions:
    """Return predictions with the labels in the order of the first run.

    Raises:
        DataError: the task or the labels differ.
    """
    if read.task is not first.task:
        raise DataError(
            f"{folder}: predicts {read.task.in_words}, but {first_folder} predicts {first.task.in_words}. Compare runs "
            "of one task."
        )
    if read.labels == first.labels:
        return read
    if sorted(read.labels) != sorted(first.labels):
        other = sorted(set(read.labels) ^ set(first.labels))[0]
        raise DataError(
            f"{folder}: its labels differ from {first_folder} (only one has {other!r}). Compare runs with "
            "the same labels."
        )
    columns = [read.labels.index(label) for label in first.labels]
    targets, predictions, scores = (of[:, columns] for of in (read.targets, read.predictions, read.scores))
    return replace(read, labels=first.labels, targets=targets, predictions=predictions, scores=scores)


def _like_first(folder: str, read: Predictions, first_folder: str, first: Predictions) -> Predictions:
    """Return predictions with clips and labels in the order of the first run.

    Raises:
        DataError: the task, the labels or the clips differ.
    """
    read = _with_labels(folder, read, first_folder, first)
    for of in (_name, _file):  # the runs may have named the same folder differently
        rows = {key: row for row, key in enumerate(_keys(map(of, read.clips)))}
        wanted = _keys(map(of, first.clips))
        common = sum(key in rows for key in wanted)
        if common:
            break
    if len(rows) != len(wanted) or common != len(wanted):
        raise DataError(
            f"{folder}: its clips differ from {first_folder} ({len(rows):,} and {len(wanted):,} clips, {common:,} in "
            "common). Evaluate both on the same data."
        )
    order = [rows[key] for key in wanted]
    targets = read.targets[order]
    differs = (targets != first.targets).reshape(len(order), -1).any(axis=1)
    if differs.any():
        row = int(differs.argmax())
        here, there = (read.task.target_text(of, read.labels) for of in (targets[row], first.targets[row]))
        raise DataError(
            f"{folder}: {first.clips[row].source} is labelled {here} here and {there} in {first_folder}. "
            "Evaluate both on the same data."
        )
    clips = [read.clips[row] for row in order]
    predictions, scores, trained_on = (of[order] for of in (read.predictions, read.scores, read.trained_on))
    return replace(read, clips=clips, targets=targets, predictions=predictions, scores=scores, trained_on=trained_on)


def _name(clip: Clip) -> str:
    return clip.source


def _file(clip: Clip) -> str:
    return os.path.realpath(clip.path or clip.source)


def _keys(names: Iterable[str]) -> list[tuple[str, int]]:
    """Return unique keys: clips with the same name are numbered in their order."""
    seen: Counter[str] = Counter()
    keys = []
    for name in names:
        keys.append((name, seen[name]))
        seen[name] += 1
    return keys


def _names(folders: Sequence[str]) -> list[str]:
    names = [Path(folder).resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder).rstrip(os.sep) for folder in folders]


def _trained_on(names: Sequence[str], read: Sequence[Predictions]) -> list[str]:
    """Return a warning for each run that was trained on any of the compared clips."""
    return [
        f"warning: {name} was trained on {int(one.trained_on.sum()):,} of these {counted(len(one.clips), 'clip')} "
        "(trained_on in its predictions), so its metrics look too good and the comparison favours it. Compare the runs "
        "on clips that none of them was trained on."
        for name, one in zip(names, read, strict=True)
        if one.trained_on.any()
    ]


def _units(names: Sequence[str], read: Sequence[Predictions]) -> tuple[Units, list[str]]:
    """Return the units of intervals and tests, and notes about them.

    The groups come from the first run whose predictions have any: files of earlier versions have no groups, and another
    run may have used another ``--group_column``.
    """
    groups_by_run = [[clip.group for clip in one.clips] for one in read]
    naming = [any(groups) for groups in groups_by_run]
    if not any(naming):
        return Units(len(groups_by_run[0])), []
    known = naming.index(True)
    groups = groups_by_run[known]
    notes = [
        f"{name}: its predictions have {'other' if names_any else 'no'} groups, so the groups of "
        f"{names[known]} are used"
        for name, names_any, own in zip(names, naming, groups_by_run, strict=True)
        if own != groups
    ]
    units = Units.of(groups)
    if units.are_groups:
        return units, [f"intervals and p are over {units.in_words}: each group is drawn and tested as a whole", *notes]
    count, without = len(set(groups) - {None}), groups.count(None)
    why = f"{counted(without, 'clip')} without a group" if without else f"only {counted(count, 'group')}"
    alike = "over clips as if they were independent. Clips of one group are not, so differences look too certain"
    return units, [f"{why}: intervals and p are {alike}", *notes]


def _numbered(read: Sequence[Predictions]) -> list[Predictions]:
    """Return predictions with class indices instead of class names."""
    task = read[0].task
    labels, numbers = task.as_numbers([(one.targets, one.predictions) for one in read], read[0].labels)
    return [
        replace(one, labels=labels, targets=targets, predictions=predictions)
        for one, (targets, predictions) in zip(read, numbers, strict=True)
    ]
