"""``earmark report RUN RUN...``: runs held against the first of them, clip by clip, from their predictions.

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
        name: what tables call it.
        answers: class indices int (N,), which labels are answered bool (N, C), or numbers float (N,).
        scores: the probability of the class that is answered, float (N,), or of each label, float (N, C); in a
            regression the answers.
        figures: with their 95 % intervals, by name.
        of_labels: figures of each class or label, by name, float (C,); NaN for one without clips.
    """

    name: str
    answers: np.ndarray
    scores: np.ndarray
    figures: Mapping[str, Estimate]
    of_labels: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Comparison:
    """Runs on the same clips.

    Attributes:
        task: what they answer.
        split: of the data.
        labels: C names; none in a regression.
        clips: the N clips.
        targets: what is right, as ``answers`` of a run.
        trivial: what a model gets that knows nothing of the sound, by figure.
        runs: the first is what the others are held against.
        pairs: each of the others against the first.
        p: of these, raised by Holm's method where there are several.
        units: what intervals and tests are over: groups, or clips.
        notes: what has to be known to read the figures: clips that were trained on, groups of clips.
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
        """Clips, and what their labels are, in words."""
        head = f"{self.split}: {counted(len(self.clips), 'clip')}"
        (name, value), *_ = self.trivial.items()
        classes = f", {self.task.counted_labels(len(self.labels))}" if self.labels else ""
        return f"{head}{classes}, {self.task.trivial_titles[name]} {self.figure(value)}"

    def summary(self) -> str:
        """Tables for a terminal."""
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
                f"Only it {better}",
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
        """Each of the others against the first, in words."""
        first, signed = self.runs[0].name, partial(self.cells, sign="+")
        return [
            verdict(run.name, first, pair, p, task=self.task, units=self.units, num_pairs=len(self.pairs), cells=signed)
            for run, pair, p in zip(self.runs[1:], self.pairs, self.p, strict=True)
        ]

    def figure(self, value: float, sign: str = "") -> str:
        """A share, or a number in its unit, as tables have it."""
        return f"{value:{sign}{self.task.digits}}"

    def cells(self, of: Estimate, sign: str = "") -> tuple[str, str]:
        """A figure or difference and its interval, as tables have them; ``sign`` is ``"+"`` for differences."""
        within = of.interval
        ends = "" if within is None else f"{self.figure(within.low, sign)} to {self.figure(within.high, sign)}"
        return self.figure(of.value, sign), ends


def compare_runs(folders: Sequence[str], split: str | None = None) -> Comparison:
    """Read the predictions of two runs or more and hold them against the first.

    Args:
        folders: run folders, folders of evaluations, or of cross-validations.
        split: ``test``, ``validation`` or ``unseen``; ``None`` for the first of these that all have.

    Raises:
        UsageError: fewer than two runs, or one twice.
        DataError: no such predictions, or those of other clips, other labels or another task.
    """
    for folder in folders:
        _check_holds_run(folder)
    if len(folders) < 2:
        folds = bool(folders) and any(Path(folders[0]).glob("fold_*"))
        one = f"the reports of its folds are {folders[0]}/fold_*" if folds else "the report of one is RUN"
        raise UsageError(f"name two runs or more: earmark report RUN RUN...; {one}/report.html")
    places = [Path(folder).resolve() for folder in folders]
    if len(set(places)) < len(places):
        raise UsageError(f"{Counter(map(str, places)).most_common(1)[0][0]}: named twice")
    split = split or _common_split(folders)
    read = [_predictions(Path(folder), split) for folder in folders]
    read = [_like_first(folder, one, folders[0], read[0]) for folder, one in zip(folders, read, strict=True)]
    read = _numbered(read)
    first, names = read[0], _names(folders)
    units, notes = _units(names, read)
    notes = [*_trained_on(names, read), *notes]
    compared, trivial = read[0].task.compare(
        ComparedClips(first.targets, [(one.scores, one.answers) for one in read], first.labels, units)
    )
    runs = [
        RunResult(name, one.answers, one.scores, figures, of_labels)
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
        DataError: it has no predictions; the message names the runs in it, if there are any.
    """
    place = Path(folder)
    if splits_in(place):
        return
    runs = sorted(str(path) for path in place.glob("*") if splits_in(path))
    if not runs:
        what = "no predictions_SPLIT.csv in it; `earmark train` and `earmark evaluate` write it"
        raise DataError(f"{folder}: {what if place.is_dir() else 'no such folder'}")
    of_seeds = " of several seeds" if any(place.glob("seed_*")) else ""
    more = " ..." if len(runs) > _NAMED else ""
    raise DataError(
        f"{folder}: not a run, but a folder of {counted(len(runs), 'run')}{of_seeds}. Name the runs to compare: "
        f"earmark report {' '.join(runs[:_NAMED])}{more}"
    )


def _common_split(folders: Sequence[str]) -> str:
    """The first split of which all runs have predictions.

    Raises:
        DataError: there is none.
    """
    there = {folder: splits_in(Path(folder)) for folder in folders}
    common = [name for name in SPLITS if all(name in splits for splits in there.values())]
    if not common:
        has = "; ".join(f"{folder} has {' and '.join(splits)} clips" for folder, splits in there.items())
        raise DataError(
            f"the runs have predictions of no common split: {has}. Evaluate each with the same --split, then compare "
            "these evaluations"
        )
    return common[0]


def _predictions(place: Path, split: str) -> Predictions:
    """Those of a run; of a cross-validation, those of all its folds, in which each clip was tested once.

    Raises:
        DataError: there are none, or it is not clear which.
    """
    own = RunFolder(place).predictions(split)
    folds = sorted(place.glob("fold_*"))
    if own.is_file() or not folds:
        others = splits_in(place)
        if others and split not in others:
            raise DataError(
                f"{place}: no predictions of {split} clips; it has those of {' and '.join(others)} clips. Evaluate it "
                f"with --split {split}, or compare another split"
            )
        return read_predictions(own)
    if split != "test":
        raise DataError(f"{place}: folds share their {split} clips; compare their test clips (--split test)")
    read = [read_predictions(RunFolder(fold).predictions(split)) for fold in folds]
    read = [_with_labels(str(fold), one, str(folds[0]), read[0]) for fold, one in zip(folds, read, strict=True)]
    return replace(
        read[0],
        clips=[clip for one in read for clip in one.clips],
        targets=np.concatenate([one.targets for one in read]),
        answers=np.concatenate([one.answers for one in read]),
        scores=np.concatenate([one.scores for one in read]),
        trained_on=np.concatenate([one.trained_on for one in read]),
    )


def _with_labels(folder: str, read: Predictions, first_folder: str, first: Predictions) -> Predictions:
    """The same, its labels in the order of the first's.

    Raises:
        DataError: of another task, or other labels.
    """
    if read.task is not first.task:
        raise DataError(
            f"{folder}: of another task than {first_folder} ({read.task.in_words} here, {first.task.in_words} there)"
        )
    if read.labels == first.labels:
        return read
    if sorted(read.labels) != sorted(first.labels):
        other = sorted(set(read.labels) ^ set(first.labels))[0]
        raise DataError(f"{folder}: of other labels than {first_folder} ({other!r} is in one alone)")
    columns = [read.labels.index(label) for label in first.labels]
    targets, answers, scores = (of[:, columns] for of in (read.targets, read.answers, read.scores))
    return replace(read, labels=first.labels, targets=targets, answers=answers, scores=scores)


def _like_first(folder: str, read: Predictions, first_folder: str, first: Predictions) -> Predictions:
    """The same, its clips and labels in the order of the first run's.

    Raises:
        DataError: of another task, other labels or other clips.
    """
    read = _with_labels(folder, read, first_folder, first)
    for of in (_name, _file):  # the same folder may have been named in two ways
        rows = {key: row for row, key in enumerate(_keys(map(of, read.clips)))}
        wanted = _keys(map(of, first.clips))
        common = sum(key in rows for key in wanted)
        if common:
            break
    if len(rows) != len(wanted) or common != len(wanted):
        raise DataError(
            f"{folder}: predictions of other clips than {first_folder} ({len(rows):,} here, {len(wanted):,} there, "
            f"{common:,} the same); evaluate both on the same data"
        )
    order = [rows[key] for key in wanted]
    targets = read.targets[order]
    differs = (targets != first.targets).reshape(len(order), -1).any(axis=1)
    if differs.any():
        row = int(differs.argmax())
        here, there = (read.task.target_text(of, read.labels) for of in (targets[row], first.targets[row]))
        raise DataError(
            f"{folder}: {first.clips[row].source} is labelled {here} here and {there} in {first_folder}; "
            "evaluate both on the same data"
        )
    clips = [read.clips[row] for row in order]
    answers, scores, trained_on = (of[order] for of in (read.answers, read.scores, read.trained_on))
    return replace(read, clips=clips, targets=targets, answers=answers, scores=scores, trained_on=trained_on)


def _name(clip: Clip) -> str:
    return clip.source


def _file(clip: Clip) -> str:
    return os.path.realpath(clip.path or clip.source)


def _keys(names: Iterable[str]) -> list[tuple[str, int]]:
    """Names that are each there once: clips cut from one recording are told apart by their order."""
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
    """A warning for each run that was trained on clips which are compared."""
    return [
        f"warning: {name} was trained on {int(one.trained_on.sum()):,} of these {counted(len(one.clips), 'clip')} "
        "(trained_on in its predictions), so its figures are too high and the comparison favours it. Compare the runs "
        "on clips that none of them was trained on"
        for name, one in zip(names, read, strict=True)
        if one.trained_on.any()
    ]


def _units(names: Sequence[str], read: Sequence[Predictions]) -> tuple[Units, list[str]]:
    """What intervals and tests are over, and what to tell of it.

    The groups are those of the first run whose predictions name any: earlier files name none, and a table may have been
    read with another ``--group_column``.
    """
    groups_by_run = [[clip.group for clip in one.clips] for one in read]
    naming = [any(groups) for groups in groups_by_run]
    if not any(naming):
        return Units(len(groups_by_run[0])), []
    known = naming.index(True)
    groups = groups_by_run[known]
    notes = [
        f"{name}: its predictions name {'other' if names_any else 'no'} groups; those of {names[known]} count for all"
        for name, names_any, own in zip(names, naming, groups_by_run, strict=True)
        if own != groups
    ]
    units = Units.of(groups)
    if units.are_groups:
        return units, [f"intervals and p over {units.in_words}, each drawn and tested as a whole", *notes]
    count, without = len(set(groups) - {None}), groups.count(None)
    why = f"{counted(without, 'clip')} without a group" if without else f"only {counted(count, 'group')}"
    alike = (
        "over clips as if they were independent, which clips of one group are not: differences look surer than they are"
    )
    return units, [f"{why}: intervals and p are {alike}", *notes]


def _numbered(read: Sequence[Predictions]) -> list[Predictions]:
    """Return the same with targets and answers as numbers, if they are names."""
    task = read[0].task
    labels, numbers = task.as_numbers([(one.targets, one.answers) for one in read], read[0].labels)
    return [
        replace(one, labels=labels, targets=targets, answers=answers)
        for one, (targets, answers) in zip(read, numbers, strict=True)
    ]
