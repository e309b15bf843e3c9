"""Write ``report.html``: one file that works offline, at most about 15 MB for any number of clips."""

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
from earmark.report.examples import heard
from earmark.report.learning_curves import learning_curves
from earmark.report.slices import slices
from earmark.runs.folder import RunFolder, read_json
from earmark.runs.judged import Judged
from earmark.scoring.decide import summary_line
from earmark.tasks.report_section import ScoredClips

logger = logging.getLogger(__name__)

SHARED = [Path(__file__).with_name(name) for name in ("report.css", "report.js", "report_top.html", "report_end.html")]


@dataclass(frozen=True)
class ScoredSplit:
    """A scored split and the lengths of its N clips in seconds, float (N,)."""

    judged: Judged
    durations_s: np.ndarray


@dataclass(frozen=True)
class ReportFacts:
    """Facts for the page in addition to the metrics.

    Attributes:
        title: title of the page.
        model: facts about the model, by name.
        settings: settings of the command, by flag.
        environment: result of :func:`earmark.runs.environment.describe_environment`.
        history: training log; empty if there is none.
        group_column: name of the groups of the clips.
        warnings: problems of the result.
    """

    title: str
    model: Mapping[str, Any]
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]] = ()
    group_column: str | None = None
    warnings: Sequence[str] = field(default_factory=list)


def write_report(path: Path, facts: ReportFacts, splits: Mapping[str, ScoredSplit]) -> Path:
    """Write the page of one or more scored splits.

    Args:
        path: file to write; replaced.
        facts: facts in addition to the metrics.
        splits: splits of one task, in the order to show them.

    Raises:
        OutputError: the file cannot be written.
    """
    task = next(iter(splits.values())).judged.task
    content = {
        "title": facts.title,
        "written": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "model": {name: str(value) for name, value in facts.model.items()},
        "settings": {name: str(value) for name, value in facts.settings.items() if value is not None},
        "environment": _flat(facts.environment),
        "curves": learning_curves(facts.history, task),
        "warnings": list(facts.warnings),
        "splits": {
            name: split_content(name, scored.judged, scored.durations_s, facts.group_column)
            for name, scored in splits.items()
        },
    }
    with writing(path) as stream:
        stream.write(pages.render(Path(__file__).with_name(task.report_template), content, SHARED))
    return path


def read_history(model: Path) -> list[dict[str, Any]]:
    """Return the training log of the run in a folder; empty if there is none."""
    folder = RunFolder(model)
    return list(read_json(folder.history)) if folder.history.is_file() else []


def _flat(environment: Mapping[str, Any]) -> dict[str, str]:
    packages = environment.get("packages") or {}
    others = {name: value for name, value in environment.items() if name != "packages"}
    return {name: str(value) for name, value in {**others, **packages}.items()}


def split_content(name: str, judged: Judged, durations_s: np.ndarray, group_column: str | None) -> dict[str, object]:
    """Return the JSON values of a split for the template of its task.

    Args:
        name: name of the split.
        judged: its N clips.
        durations_s: lengths of the clips in seconds, float (N,).
        group_column: name of their groups.
    """
    figures = judged.metrics.to_dict()
    clips = ScoredClips(judged.targets, judged.logits, judged.labels, judged.decision, judged.units, figures)
    section = judged.task.section(clips)
    columns, notes = slices(judged.table, section.measured, durations_s, group_column, section.measure, section.columns)
    for note in notes:
        logger.info("report, %s: %s", name, note)
    return {
        "figures": figures,
        "extra": {**judged.extra, **judged.custom},
        "labels": list(judged.labels),
        "decision": summary_line(judged.decision, judged.decided) if judged.decided else "",
        "examples": heard(name, judged.table, section.rows, section.says, judged.trained_on),
        "slices": columns,
        "notes": notes,
        "predictions": f"predictions_{name}.csv",
        **section.values,
    }
