"""Write the page of a comparison, at most about 6 MB for any number of clips.

Shapes: N clips, C labels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from earmark import pages
from earmark.clips.clip import ClipTable
from earmark.io.atomic import writing
from earmark.report.compare import Comparison, RunResult
from earmark.report.examples import heard
from earmark.report.report_page import SHARED
from earmark.report.verdict import p_text
from earmark.stats.paired import Estimate, Paired
from earmark.tasks.report_section import Side
from earmark.text import counted

_TEMPLATE = Path(__file__).with_name("compare.html")
_HEARD = 16  # clips to play for each pair of runs, all predicted correctly by only one of the two
_MOST_HEARD = 160  # clips to play on the page


def write_comparison(path: Path, found: Comparison) -> Path:
    """Write a comparison as a page, with clips on which the runs differ.

    Raises:
        OutputError: the file cannot be written.
    """
    most = min(_HEARD, _MOST_HEARD // (2 * len(found.pairs)))
    first, task = found.runs[0], found.task
    content = {
        "several": task.has_several,
        "numbers": not task.has_classes,
        "about": found.about,
        "notes": found.notes,
        "groups": found.units.in_words if found.units.are_groups else "",
        "better": task.better,
        "titles": task.titles,
        "split": found.split,
        "labels": found.labels,
        "support": task.support(found.targets, found.labels),
        "trivial": found.trivial,
        "runs": [_run_content(found, run) for run in found.runs],
        "pairs": [
            {
                **_pair_content(found, pair),
                "name": run.name,
                "p": p_text(p),
                "verdict": verdict,
                "gaps": task.gaps(found.targets, first.predictions, run.predictions),
                "sides": [
                    _side_content(found, task.side(found.targets, found.labels, *two), most)
                    for two in ((run, first), (first, run))
                ],
            }
            for run, pair, p, verdict in zip(found.runs[1:], found.pairs, found.p, found.verdicts(), strict=True)
        ],
    }
    with writing(path) as stream:
        stream.write(pages.render(_TEMPLATE, content, SHARED))
    return path


def _run_content(found: Comparison, run: RunResult) -> dict[str, object]:
    return {
        "name": run.name,
        "cells": {name: found.cells(of) for name, of in run.figures.items()},
        "figures": {name: _numbers(of) for name, of in run.figures.items()},
        "of_labels": {
            name: [None if np.isnan(value) else round(float(value), 4) for value in of]
            for name, of in run.of_labels.items()
        },
    }


def _pair_content(found: Comparison, pair: Paired) -> dict[str, object]:
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
    """Return ``[value, low, high]``, or only the value if there is no interval."""
    values = [of.value] if of.interval is None else [of.value, of.interval.low, of.interval.high]
    return [float(f"{value:.6g}") for value in values]


def _side_content(found: Comparison, side: Side, most: int) -> dict[str, object]:
    shown = side.rows[:most].tolist()
    part = f"{side.note}; {len(shown)} shown" if len(side.rows) > len(shown) else side.note
    return {
        "title": f"{counted(len(side.rows), 'clip')} {side.title}",
        "note": part,
        "clips": heard(found.split, ClipTable(found.clips, found.split), shown, side.says),
    }
