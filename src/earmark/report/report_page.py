"""``report.html``: one file that needs no network, of at most some 15 MB however many clips were scored."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from earmark import pages
from earmark.io.atomic import writing
from earmark.report.curves import class_histograms, learning_curves, reliability, score_histograms
from earmark.report.examples import choose, heard
from earmark.report.multi_label import labels_of_split
from earmark.report.regression import numbers_of_split
from earmark.report.slices import slices
from earmark.runs.folder import RunFolder, read_json
from earmark.runs.judged import Judged
from earmark.scoring.decide import summary_line
from earmark.tasks import Task, softmax

logger = logging.getLogger(__name__)

SHARED = [Path(__file__).with_name(name) for name in ("report.css", "report.js", "report_top.html", "report_end.html")]
_MOST_LIKELY = 3  # classes named for a clip


@dataclass(frozen=True)
class Scored:
    """A judged split and the lengths of its N clips in seconds, float (N,)."""

    judged: Judged
    durations_s: np.ndarray


@dataclass(frozen=True)
class ReportFacts:
    """What the page says beside figures.

    Attributes:
        title: of the page.
        model: what the model is, by name of the fact.
        settings: of the command, by flag.
        environment: of :func:`earmark.runs.environment.describe_environment`.
        history: what was logged while training; empty where that is not known.
        group_column: what the groups of the clips are called.
        warnings: what is wrong with the result, in words.
    """

    title: str
    model: Mapping[str, Any]
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]] = ()
    group_column: str | None = None
    warnings: Sequence[str] = field(default_factory=list)


def write_report(path: Path, facts: ReportFacts, splits: Mapping[str, Scored]) -> Path:
    """Write the page of one or more scored splits.

    Args:
        path: file to write; replaced.
        facts: what it says beside figures.
        splits: the splits of one task, the one to show first at the front.

    Raises:
        OutputError: the file cannot be written.
    """
    task = next(iter(splits.values())).judged.task
    template, split_content = {
        Task.SINGLE_LABEL: ("report.html", _classes_of_split),
        Task.MULTI_LABEL: ("multi_label.html", labels_of_split),
        Task.REGRESSION: ("regression.html", numbers_of_split),
    }[task]
    content = {
        "title": facts.title,
        "written": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "model": {name: str(value) for name, value in facts.model.items()},
        "settings": {name: str(value) for name, value in facts.settings.items() if value is not None},
        "environment": _flat(facts.environment),
        "curves": learning_curves(facts.history),
        "warnings": list(facts.warnings),
        "splits": {
            name: split_content(name, scored.judged, scored.durations_s, facts.group_column)
            for name, scored in splits.items()
        },
    }
    with writing(path) as stream:
        stream.write(pages.render(Path(__file__).with_name(template), content, SHARED))
    return path


def read_history(model: Path) -> list[dict[str, Any]]:
    """What was logged while the run in a folder was trained; nothing where it was not."""
    folder = RunFolder(model)
    return list(read_json(folder.history)) if folder.history.is_file() else []


def _flat(environment: Mapping[str, Any]) -> dict[str, str]:
    packages = environment.get("packages") or {}
    others = {name: value for name, value in environment.items() if name != "packages"}
    return {name: str(value) for name, value in {**others, **packages}.items()}


def _classes_of_split(name: str, judged: Judged, durations_s: np.ndarray, group_column: str | None) -> dict[str, Any]:
    probabilities = softmax(judged.logits)
    chosen = choose(probabilities, judged.targets)
    columns, notes = slices(judged.table, probabilities.argmax(axis=1) == judged.targets, durations_s, group_column)
    for note in notes:
        logger.info("report, %s: %s", name, note)
    place = {row: number for number, row in enumerate(chosen.rows())}
    figures = judged.metrics.to_dict()
    rows, answers = np.nonzero(judged.single_label.confusion)
    figures.pop("confusion_matrix")
    return {
        "figures": figures,
        "extra": {**judged.extra, **judged.custom},
        "labels": list(judged.labels),
        "confusion": [
            [int(i), int(j), int(judged.single_label.confusion[i, j])] for i, j in zip(rows, answers, strict=True)
        ],
        "cells": {f"{i},{j}": [place[row] for row in found] for (i, j), found in chosen.cells.items()},
        "mistakes": [place[row] for row in chosen.mistakes],
        "examples": heard(
            name,
            judged.table,
            chosen.rows(),
            lambda row: _answers(judged, probabilities[row], row),
            judged.trained_on,
        ),
        "reliability": reliability(probabilities, judged.targets),
        "scores": score_histograms(probabilities, judged.targets),
        "class_scores": class_histograms(probabilities, judged.targets),
        "slices": columns,
        "notes": notes,
        "decision": summary_line(judged.decision, judged.decided) if judged.decided else "",
        "predictions": f"predictions_{name}.csv",
    }


def _answers(judged: Judged, probabilities: np.ndarray, row: int) -> dict[str, Any]:
    """What is said of a clip: its class, and the likeliest ones by probability (C,)."""
    best = np.argsort(-probabilities, kind="stable")[:_MOST_LIKELY]
    return {
        "label": judged.labels[judged.targets[row]],
        "answers": [[judged.labels[i], round(float(probabilities[i]), 4)] for i in best],
    }
