"""``earmark report RUN RUN...`` of runs that answer several labels, or numbers: tables for a terminal.

Shapes: N clips, C labels.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from earmark.data.columns import Columns, read_label
from earmark.errors import DataError
from earmark.report.compare import _keys, _names, _table
from earmark.runs.folder import RunFolder
from earmark.scoring.multi_label import bootstrap, label_means
from earmark.scoring.paired import holm
from earmark.scoring.paired_tasks import PairedScores, compare_labels, compare_numbers
from earmark.scoring.regression import compute_regression
from earmark.scoring.uncertainty import Interval, percentile_interval
from earmark.tasks import Task

_TITLES = {"mean_average_precision": "mAP", "macro_f1": "Macro-F1", "mae": "MAE", "rmse": "RMSE"}


@dataclass(frozen=True)
class Scores:
    """What a ``predictions_SPLIT.csv`` of several labels or of numbers says of N clips.

    Attributes:
        sources: what each is called.
        labels: C names; none in a regression.
        targets: which labels are there bool (N, C), or numbers float (N,).
        answers: which are answered, or numbers, alike.
        probabilities: float (N, C); in a regression the answers.
    """

    sources: list[str]
    labels: list[str]
    targets: np.ndarray
    answers: np.ndarray
    probabilities: np.ndarray


def task_of(folder: str, split: str | None) -> Task:
    """What a run's predictions answer, by their columns; single labels where there are none to read."""
    for name in (split,) if split else ("test", "validation"):
        path = RunFolder(Path(folder)).predictions(name)
        if path.is_file():
            with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
                heads = next(csv.reader(stream), [])
            if "error" in heads:
                return Task.REGRESSION
            return Task.SINGLE_LABEL if "score" in heads else Task.MULTI_LABEL
    return Task.SINGLE_LABEL


def common_split(folders: Sequence[str]) -> str:
    """``test`` where all runs have its predictions, else ``validation``."""
    tested = all(RunFolder(Path(folder)).predictions("test").is_file() for folder in folders)
    return "test" if tested else "validation"


def read_scores(path: Path, task: Task) -> Scores:
    """Read what :func:`earmark.runs.judged.write_predictions` wrote of several labels or of numbers.

    Raises:
        DataError: it is missing, damaged or of another task.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            rows = list(csv.DictReader(stream))
        sources = [row["path"] for row in rows]
        if task is Task.REGRESSION:
            numbers, answers = (np.array([float(row[name]) for row in rows]) for name in ("label", "predicted"))
            if rows and "error" not in rows[0]:
                raise KeyError("error")
            scores = Scores(sources, [], numbers, answers, answers)
        else:
            labels = [head[2:-1] for head in rows[0] if head.startswith("p(") and head.endswith(")")] if rows else []
            there, answered = (_named([row[name] for row in rows], labels) for name in ("label", "predicted"))
            probabilities = np.array([[float(row[f"p({label})"]) for label in labels] for row in rows])
            scores = Scores(sources, labels, there, answered, probabilities)
    except FileNotFoundError as exc:
        raise DataError(f"{path}: not there; `earmark train` and `earmark evaluate` write it") from exc
    except (OSError, ValueError, KeyError, TypeError, IndexError, csv.Error) as exc:
        raise DataError(f"{path}: damaged, or of another task than the first ({exc!r})") from exc
    if not rows:
        raise DataError(f"{path}: has no rows; evaluate again to write it anew")
    return scores


def _named(cells: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """Which labels cells name, bool (N, C)."""
    number, columns = {label: i for i, label in enumerate(labels)}, Columns(task=Task.MULTI_LABEL)
    there = np.zeros((len(cells), len(labels)), bool)
    for row, cell in enumerate(cells):
        names = read_label(cell, f"row {row + 2}", columns)
        assert isinstance(names, tuple)
        there[row, [number[name] for name in names]] = True
    return there


def compare_task(folders: Sequence[str], split: str, task: Task) -> str:
    """Hold runs against the first, as tables and sentences.

    Args:
        folders: two run folders or more, or folders of evaluations.
        split: ``test`` or ``validation``.
        task: of the first.

    Raises:
        DataError: no such predictions, or those of other clips, other labels or another task.
    """
    read = [read_scores(RunFolder(Path(folder)).predictions(split), task) for folder in folders]
    runs = [_like_first(folder, one, folders[0], read[0]) for folder, one in zip(folders, read, strict=True)]
    names, targets = _names(folders), runs[0].targets
    if task is Task.MULTI_LABEL:
        first = (runs[0].probabilities, runs[0].answers)
        pairs = [compare_labels(targets, first, (run.probabilities, run.answers)) for run in runs[1:]]
    else:
        pairs = [compare_numbers(targets, runs[0].answers, run.answers) for run in runs[1:]]
    p = holm([pair.p for pair in pairs])
    test = "McNemar p" if task is Task.MULTI_LABEL else "Wilcoxon p"
    what = f"{len(runs[0].labels)} labels" if task is Task.MULTI_LABEL else "numbers"
    verdicts = [_verdict(name, names[0], pair, one) for name, pair, one in zip(names[1:], pairs, p, strict=True)]
    return "\n".join(
        [
            f"{split}: {len(targets):,} clips, {what}",
            "",
            *_table(_figures(names, runs, task)),
            "",
            *_table(_against(names, pairs, p, test)),
            "",
            *verdicts,
        ]
    )


def _like_first(folder: str, read: Scores, first_folder: str, first: Scores) -> Scores:
    """Clips and labels in the order of the first run's."""
    rows = {key: row for row, key in enumerate(_keys(read.sources))}
    wanted = _keys(first.sources)
    common = sum(key in rows for key in wanted)
    if len(rows) != len(wanted) or common != len(wanted):
        raise DataError(
            f"{folder}: predictions of other clips than {first_folder} ({len(rows):,} here, {len(wanted):,} there, "
            f"{common:,} the same); evaluate both on the same data"
        )
    if sorted(read.labels) != sorted(first.labels):
        other = sorted(set(read.labels) ^ set(first.labels))[0]
        raise DataError(f"{folder}: of other labels than {first_folder} ({other!r} is in one alone)")
    order = [rows[key] for key in wanted]
    columns = [read.labels.index(label) for label in first.labels]
    targets, answers, probabilities = (
        values[order][:, columns] if values.ndim == 2 else values[order]
        for values in (read.targets, read.answers, read.probabilities)
    )
    differs = (targets != first.targets).reshape(len(targets), -1).any(axis=1)
    if differs.any():
        clip = first.sources[int(differs.argmax())]
        raise DataError(
            f"{folder}: {clip} is labelled otherwise than in {first_folder}; evaluate both on the same data"
        )
    return Scores(first.sources, first.labels, targets, answers, probabilities)


def _figures(names: Sequence[str], runs: Sequence[Scores], task: Task) -> list[tuple[str, ...]]:
    several = task is Task.MULTI_LABEL
    heads = ("Run", *(head for name in _of_task(task) for head in (_TITLES[name], "95 %")))
    lines = [(*heads, "All labels right") if several else heads]
    for name, run in zip(names, runs, strict=True):
        if several:
            values = label_means(run.probabilities, run.answers, run.targets)
            (drawn,) = bootstrap([(run.probabilities, run.answers)], run.targets)
            intervals = {figure: percentile_interval(of) for figure, of in drawn.items()}
            right = [f"{float((run.answers == run.targets).all(axis=1).mean()):.4f}"]
        else:
            metrics = compute_regression(run.answers[:, None], run.targets)
            values, intervals, right = {"mae": metrics.mae, "rmse": metrics.rmse}, metrics.intervals, []
        cells = [
            cell for figure in _of_task(task) for cell in (f"{values[figure]:.4g}", _range(intervals.get(figure), ""))
        ]
        lines.append((name, *cells, *right))
    return lines


def _against(
    names: Sequence[str], pairs: Sequence[PairedScores], p: Sequence[float], test: str
) -> list[tuple[str, ...]]:
    better = "right" if test.startswith("McNemar") else "nearer"
    titles = [head for name in pairs[0].differences for head in (_TITLES[name], "95 %")]
    lines = [(f"Against {names[0]}", *titles, f"Only it {better}", f"Only {names[0]} {better}", test)]
    for name, pair, one in zip(names[1:], pairs, p, strict=True):
        cells = [cell for value, of in pair.differences.values() for cell in (f"{value:+.4g}", _range(of, "+"))]
        lines.append((name, *cells, f"{pair.only_second:,}", f"{pair.only_first:,}", f"{one:.2g}"))
    return lines


def _of_task(task: Task) -> tuple[str, str]:
    return ("mean_average_precision", "macro_f1") if task is Task.MULTI_LABEL else ("mae", "rmse")


def _range(interval: Interval | None, sign: str) -> str:
    return "" if interval is None else f"{interval.low:{sign}.4g} to {interval.high:{sign}.4g}"


def _verdict(name: str, first: str, pair: PairedScores, p: float) -> str:
    if p >= 0.05:
        return f"{name}: these clips do not tell it from {first} (p {p:.2g})"
    return f"{name}: {'better' if pair.second_is_better else 'worse'} than {first} (p {p:.2g})"
