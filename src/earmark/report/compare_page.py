"""The page of a comparison, of some 6 MB at most however many clips were compared.

Shapes: N clips, C labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from earmark import pages
from earmark.clips.clip import ClipTable
from earmark.io.atomic import writing
from earmark.report.compare import BETTER, TITLES, Comparison, Run
from earmark.report.curves import errors_histogram
from earmark.report.examples import heard
from earmark.report.multi_label import said_of
from earmark.report.report_page import SHARED
from earmark.report.verdict import p_text
from earmark.stats.paired import Estimate, Paired
from earmark.tasks import Task
from earmark.tasks.regression_comparison import error_gaps
from earmark.text import counted

_TEMPLATE = Path(__file__).with_name("compare.html")
_HEARD = 16  # clips that decide for one of two runs
_MOST_HEARD = 160  # in all


@dataclass(frozen=True)
class _Side:
    """Clips that speak for one of two runs.

    Attributes:
        title: what they are.
        note: which of them are in the page.
        rows: all of them, those first that decide most.
        says: what is said of a row.
    """

    title: str
    note: str
    rows: np.ndarray
    says: Callable[[int], dict[str, Any]]


def write_comparison(path: Path, found: Comparison) -> Path:
    """The comparison as a page, with the clips that decide.

    Raises:
        OutputError: the file cannot be written.
    """
    most = min(_HEARD, _MOST_HEARD // (2 * len(found.pairs)))
    first = found.runs[0]
    content = {
        "task": found.task.name,
        "about": found.about,
        "notes": found.notes,
        "groups": found.units.in_words if found.units.are_groups else "",
        "better": BETTER[found.task],
        "titles": TITLES,
        "split": found.split,
        "labels": found.labels,
        "support": _support(found),
        "trivial": found.trivial,
        "runs": [_run_content(found, run) for run in found.runs],
        "pairs": [
            {
                **_pair_content(found, pair),
                "name": run.name,
                "p": p_text(p),
                "verdict": verdict,
                "gaps": _gaps(found, first, run),
                "sides": [_side_content(found, _side(found, *two), most) for two in ((run, first), (first, run))],
            }
            for run, pair, p, verdict in zip(found.runs[1:], found.pairs, found.p, found.verdicts(), strict=True)
        ],
    }
    with writing(path) as stream:
        stream.write(pages.render(_TEMPLATE, content, SHARED))
    return path


def _support(found: Comparison) -> list[int]:
    """Clips of each class or label, (C,)."""
    if found.task is Task.MULTI_LABEL:
        return [int(count) for count in found.targets.sum(axis=0)]
    return [] if found.task is Task.REGRESSION else np.bincount(found.targets, minlength=len(found.labels)).tolist()


def _run_content(found: Comparison, run: Run) -> dict[str, Any]:
    return {
        "name": run.name,
        "cells": {name: found.cells(of) for name, of in run.figures.items()},
        "figures": {name: _numbers(of) for name, of in run.figures.items()},
        "of_labels": {
            name: [None if np.isnan(value) else round(float(value), 4) for value in of]
            for name, of in run.of_labels.items()
        },
    }


def _pair_content(found: Comparison, pair: Paired) -> dict[str, Any]:
    return {
        "cells": {name: found.cells(of, "+") for name, of in pair.differences.items()},
        "only_first": pair.only_first,
        "only_second": pair.only_second,
        "of_labels": {
            name: [None if of is None else [*_numbers(of), of.is_certain] for of in each]
            for name, each in pair.of_labels.items()
        },
    }


def _numbers(of: Estimate) -> list[float]:
    """``[value, low, high]``, or the value alone where there is no interval."""
    values = [of.value] if of.interval is None else [of.value, of.interval.low, of.interval.high]
    return [float(f"{value:.6g}") for value in values]


def _gaps(found: Comparison, first: Run, other: Run) -> dict[str, Any] | None:
    """How the absolute errors of two runs differ, clip by clip; nothing but in a regression."""
    if found.task is not Task.REGRESSION:
        return None
    gaps = error_gaps(found.targets, first.answers, other.answers)
    return {**errors_histogram(gaps), "median": float(np.median(gaps)), "alike": int((gaps == 0).sum())}


def _side_content(found: Comparison, side: _Side, most: int) -> dict[str, Any]:
    shown = side.rows[:most].tolist()
    part = f"{side.note}; {len(shown)} of them" if len(side.rows) > len(shown) else side.note
    return {
        "title": f"{counted(len(side.rows), 'clip')} {side.title}",
        "note": part,
        "clips": heard(found.split, ClipTable(found.clips, found.split), shown, side.says),
    }


def _side(found: Comparison, better: Run, worse: Run) -> _Side:
    """The clips that ``better`` does better than ``worse``."""
    of_task = {Task.SINGLE_LABEL: _right, Task.MULTI_LABEL: _fewer_wrong, Task.REGRESSION: _nearer}
    return of_task[found.task](found, better, worse)


def _right(found: Comparison, better: Run, worse: Run) -> _Side:
    rows = np.flatnonzero((better.answers == found.targets) & (worse.answers != found.targets))

    def says(row: int) -> dict[str, Any]:
        answer = [found.labels[worse.answers[row]], round(float(worse.scores[row]), 4)]
        return {"label": found.labels[found.targets[row]], "answers": [answer]}

    title = f"that {better.name} has right and {worse.name} has not"
    note = f"{worse.name}'s answer and its probability, the surest first"
    return _Side(title, note, rows[np.argsort(-worse.scores[rows], kind="stable")], says)


def _fewer_wrong(found: Comparison, better: Run, worse: Run) -> _Side:
    wrong, fewer = ((run.answers != found.targets).sum(axis=1) for run in (worse, better))
    # of clips with the same count those first whose probabilities are further from what is so
    far, near = (np.abs(run.scores - found.targets).sum(axis=1) for run in (worse, better))
    rows = np.flatnonzero(wrong > fewer)
    order = np.lexsort((near[rows] - far[rows], fewer[rows] - wrong[rows]))

    def says(row: int) -> dict[str, Any]:
        return {
            "label": [found.labels[i] for i in np.flatnonzero(found.targets[row])],
            "said": [
                [run.name, said_of(run.scores[row], found.targets[row], run.answers[row])] for run in (better, worse)
            ],
        }

    title = f"in which {better.name} has fewer labels wrong than {worse.name}"
    return _Side(title, "those first that differ by the most labels", rows[order], says)


def _nearer(found: Comparison, better: Run, worse: Run) -> _Side:
    gaps = error_gaps(found.targets, better.answers, worse.answers)
    rows = np.flatnonzero(gaps > 0)

    def says(row: int) -> dict[str, Any]:
        answers = [[run.name, float(run.answers[row])] for run in (better, worse)]
        return {"number": float(found.targets[row]), "answers": answers}

    title = f"that {better.name} is nearer to than {worse.name}"
    return _Side(title, "those first whose errors differ most", rows[np.argsort(-gaps[rows], kind="stable")], says)
