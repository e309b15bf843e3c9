"""``earmark report RUN RUN...``: runs held against the first of them, clip by clip, from their predictions."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from earmark import pages
from earmark.data.clips import Clip
from earmark.data.excerpts import excerpt
from earmark.errors import DataError, UsageError
from earmark.runs.folder import RunFolder, writing
from earmark.runs.judged import Predictions, read_predictions
from earmark.scoring.paired import Paired, compare, holm
from earmark.scoring.uncertainty import bootstrap_intervals

_TEMPLATE = Path(__file__).with_name("compare.html")
_HEARD = 16  # clips that one of two runs alone has right, in a page
_MOST_HEARD = 160  # in all
_SPLITS = ("test", "validation")


@dataclass(frozen=True)
class Run:
    """A run in a comparison of N clips and C classes.

    Attributes:
        name: what tables call it.
        answers: class indices int (N,).
        scores: their probabilities, float (N,).
        accuracy, macro_f1: its figures.
        intervals: 95 % intervals of both, by name.
        f1: of each class, float (C,); NaN without clips.
    """

    name: str
    answers: np.ndarray
    scores: np.ndarray
    accuracy: float
    macro_f1: float
    intervals: dict[str, Any]
    f1: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """Runs on the same clips.

    Attributes:
        split: of the data.
        labels: C class names.
        clips: the N clips.
        targets: their class indices, int (N,).
        runs: the first is what the others are held against.
        pairs: each of the others against the first.
        p: of these, McNemar's, raised by Holm's method where there are several.
    """

    split: str
    labels: list[str]
    clips: list[Clip]
    targets: np.ndarray
    runs: list[Run]
    pairs: list[Paired]
    p: list[float]

    @property
    def majority_rate(self) -> float:
        """Accuracy of always giving the most frequent answer."""
        return float(np.bincount(self.targets).max() / len(self.targets))

    def summary(self) -> str:
        """Tables for a terminal."""
        first = self.runs[0].name
        figures: list[tuple[str, ...]] = [("Run", "Accuracy", "95 %", "Macro-F1", "95 %")]
        for run in self.runs:
            accuracy, macro_f1 = run.intervals["accuracy"], run.intervals["macro_f1"]
            figures.append(
                (
                    run.name,
                    f"{run.accuracy:.4f}",
                    f"{accuracy.low:.4f} to {accuracy.high:.4f}",
                    f"{run.macro_f1:.4f}",
                    f"{macro_f1.low:.4f} to {macro_f1.high:.4f}",
                )
            )
        against: list[tuple[str, ...]] = [
            (f"Against {first}", "Accuracy", "95 %", "Macro-F1", "95 %", "Only it", f"Only {first}", "McNemar p")
        ]
        for run, pair, p in zip(self.runs[1:], self.pairs, self.p, strict=True):
            cells = [run.name]
            for of in (pair.accuracy, pair.macro_f1):
                cells += [f"{of.value:+.4f}", f"{of.interval.low:+.4f} to {of.interval.high:+.4f}"]
            against.append((*cells, f"{pair.only_second:,}", f"{pair.only_first:,}", f"{p:.2g}"))
        notes = [self.verdict(run, pair, p) for run, pair, p in zip(self.runs[1:], self.pairs, self.p, strict=True)]
        head = (
            f"{self.split}: {len(self.targets):,} clips, {len(self.labels)} classes, "
            f"majority rate {self.majority_rate:.4f}"
        )
        return "\n".join([head, "", *_table(figures), "", *_table(against), "", *notes])

    def verdict(self, run: Run, pair: Paired, p: float) -> str:
        """One of the others against the first, in words."""
        if p >= 0.05:
            return f"{run.name}: these clips do not tell it from {self.runs[0].name} (p {p:.2g})"
        word = "better" if pair.only_second > pair.only_first else "worse"
        return f"{run.name}: {word} than {self.runs[0].name} (p {p:.2g})"


def compare_runs(folders: Sequence[str], split: str | None = None) -> Comparison:
    """Read the predictions of two runs or more and hold them against the first.

    Args:
        folders: run folders, folders of evaluations, or of cross-validations.
        split: ``test`` or ``validation``; ``None`` for the first of these that all have.

    Raises:
        UsageError: fewer than two runs, or one twice.
        DataError: no such predictions, or those of other clips or other labels.
    """
    if len(folders) < 2:
        raise UsageError("name two runs or more: earmark report RUN RUN...; the report of one is RUN/report.html")
    places = [Path(folder).resolve() for folder in folders]
    if len(set(places)) < len(places):
        raise UsageError(f"{Counter(map(str, places)).most_common(1)[0][0]}: named twice")
    split = split or next(
        (name for name in _SPLITS if all(RunFolder(place).predictions(name).is_file() for place in places)), "test"
    )
    read = [_predictions(Path(folder), split) for folder in folders]
    rows = _aligned(folders, read)
    labels = sorted({label for one in read for label in (*one.targets, *one.answers)})
    number = {label: i for i, label in enumerate(labels)}
    targets = np.array([number[label] for label in read[0].targets])
    runs = [
        _run(name, one, order, targets, number) for name, one, order in zip(_names(folders), read, rows, strict=True)
    ]
    pairs = [compare(targets, runs[0].answers, run.answers, len(labels)) for run in runs[1:]]
    return Comparison(split, labels, read[0].clips, targets, runs, pairs, holm([pair.p for pair in pairs]))


def _predictions(place: Path, split: str) -> Predictions:
    """Those of a run; of a cross-validation, those of all its folds, in which each clip was tested once.

    Raises:
        DataError: there are none, or it is not clear which.
    """
    own = RunFolder(place).predictions(split)
    seeds, folds = sorted(place.glob("seed_*")), sorted(place.glob("fold_*"))
    if own.is_file() or not (seeds or folds):
        return read_predictions(own)
    if seeds:
        raise DataError(f"{place}: holds runs of several seeds; name one of them: {', '.join(map(str, seeds[:3]))}")
    if split != "test":
        raise DataError(f"{place}: folds share their {split} clips; compare their test clips (--split test)")
    read = [read_predictions(RunFolder(fold).predictions(split)) for fold in folds]
    return Predictions(
        [clip for one in read for clip in one.clips],
        [label for one in read for label in one.targets],
        [label for one in read for label in one.answers],
        np.concatenate([one.scores for one in read]),
    )


def _aligned(folders: Sequence[str], read: Sequence[Predictions]) -> list[list[int]]:
    """The rows of each run in the order of the first's clips."""
    keys = [_keys([clip.source for clip in one.clips]) for one in read]
    first = {key: row for row, key in enumerate(keys[0])}
    orders = []
    for folder, one, own in zip(folders, read, keys, strict=True):
        rows = {key: row for row, key in enumerate(own)}
        common = sum(key in first for key in rows)
        if len(rows) != len(first) or common != len(first):
            raise DataError(
                f"{folder}: predictions of other clips than {folders[0]} ({len(rows):,} here, {len(first):,} there, "
                f"{common:,} the same); evaluate both on the same data"
            )
        order = [rows[key] for key in keys[0]]
        for row, there in enumerate(order):
            if one.targets[there] != read[0].targets[row]:
                raise DataError(
                    f"{folder}: {one.clips[there].source} is labelled {one.targets[there]!r} here and "
                    f"{read[0].targets[row]!r} in {folders[0]}; evaluate both on the same data"
                )
        orders.append(order)
    return orders


def _keys(sources: Sequence[str]) -> list[tuple[str, int]]:
    """Names that are each there once: clips cut from one recording are told apart by their order."""
    seen: Counter[str] = Counter()
    keys = []
    for source in sources:
        keys.append((source, seen[source]))
        seen[source] += 1
    return keys


def _names(folders: Sequence[str]) -> list[str]:
    names = [Path(folder).resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder).rstrip(os.sep) for folder in folders]


def _run(name: str, read: Predictions, order: list[int], targets: np.ndarray, number: dict[str, int]) -> Run:
    answers = np.array([number[read.answers[row]] for row in order])
    confusion = np.zeros((len(number), len(number)), np.int64)
    np.add.at(confusion, (targets, answers), 1)
    hits, support = np.diag(confusion), confusion.sum(axis=1)
    with np.errstate(invalid="ignore"):
        f1 = np.where(support > 0, 2 * hits / (support + confusion.sum(axis=0)), np.nan)
    return Run(
        name,
        answers,
        read.scores[order],
        float(hits.sum() / len(targets)),
        float(np.nanmean(f1)),
        bootstrap_intervals(confusion),
        f1,
    )


def _table(lines: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    rule = tuple("-" * width for width in widths)
    return [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in (lines[0], rule, *lines[1:])
    ]


def write_comparison(path: Path, found: Comparison) -> Path:
    """The comparison as a page, with the clips that one of two runs alone has right.

    Raises:
        OutputError: the file cannot be written.
    """
    heard = min(_HEARD, _MOST_HEARD // (2 * len(found.pairs)))
    content = {
        "split": found.split,
        "clips": len(found.targets),
        "labels": found.labels,
        "support": np.bincount(found.targets, minlength=len(found.labels)).tolist(),
        "majority_rate": found.majority_rate,
        "runs": [_run_content(run) for run in found.runs],
        "pairs": [
            {
                "name": run.name,
                "p": p,
                "verdict": found.verdict(run, pair, p),
                "accuracy": [pair.accuracy.value, pair.accuracy.interval.low, pair.accuracy.interval.high],
                "macro_f1": [pair.macro_f1.value, pair.macro_f1.interval.low, pair.macro_f1.interval.high],
                "only_first": pair.only_first,
                "only_second": pair.only_second,
                "heard_first": _examples(found, found.runs[0], run, heard),
                "heard_second": _examples(found, run, found.runs[0], heard),
            }
            for run, pair, p in zip(found.runs[1:], found.pairs, found.p, strict=True)
        ],
    }
    with writing(path) as stream:
        stream.write(pages.render(_TEMPLATE, content))
    return path


def _run_content(run: Run) -> dict[str, Any]:
    return {
        "name": run.name,
        "accuracy": run.accuracy,
        "macro_f1": run.macro_f1,
        "intervals": {name: [of.low, of.high] for name, of in run.intervals.items()},
        "f1": [None if np.isnan(value) else round(float(value), 4) for value in run.f1],
    }


def _examples(found: Comparison, right: Run, wrong: Run, most: int) -> list[dict[str, Any]]:
    """Clips that ``right`` has right and ``wrong`` has not, those first where the latter is surest."""
    rows = np.flatnonzero((right.answers == found.targets) & (wrong.answers != found.targets))
    examples = []
    for row in rows[np.argsort(-wrong.scores[rows], kind="stable")][:most]:
        clip = found.clips[row]
        sound = excerpt(clip, spectrogram=True)
        examples.append(
            {
                "path": clip.source,
                "label": found.labels[found.targets[row]],
                "answers": [[found.labels[wrong.answers[row]], round(float(wrong.scores[row]), 4)]],
                "uri": sound.uri,
                "whole": sound.whole,
                "spectrogram": sound.spectrogram,
                "frames": sound.frames,
            }
        )
    return examples
