"""Compute the metrics of a scored split, and write its predictions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from earmark.clips.clip import ClipTable
from earmark.clips.targets import table_targets
from earmark.io.atomic import writing
from earmark.io.csv_rows import csv_row
from earmark.runs.folder import RunFolder
from earmark.runs.split_record import how_many_trained_on
from earmark.scoring.decide import summary_line
from earmark.scoring.extra_metrics import ExtraMetrics
from earmark.stats.uncertainty import Units
from earmark.tasks import SINGLE_LABEL, Task
from earmark.tasks.decision import PLAIN, Decision, LabelledScores
from earmark.tasks.figures import Figures
from earmark.tasks.task import FigureOptions


@dataclass(frozen=True)
class Judged:
    """A scored split.

    Attributes:
        table: its N clips.
        targets: result of :func:`earmark.clips.targets.table_targets`: class indices int64 (N,), several labels as 0
            and 1, float32 (N, C), or numbers float32 (N,).
        logits: float32 (N, C).
        labels: class names.
        metrics: all metrics of the task.
        extra: metrics of a local metric folder, by name.
        custom: metrics of metric functions, by name.
        decision: fitted temperature and thresholds; the temperature is already applied to the logits.
        decided: metrics of the predictions after thresholds, or empty; see
            :meth:`earmark.tasks.task.Task.decision_figures`.
        task: task of the model.
        trained_on: which clips the model was trained on, bool (N,); ``None`` if that is unknown.
        scored_s: duration of scoring in seconds; 0 if it was not measured.
    """

    table: ClipTable
    targets: np.ndarray
    logits: np.ndarray
    labels: Sequence[str]
    metrics: Figures
    extra: dict[str, float] = field(default_factory=dict)
    decision: Decision = PLAIN
    decided: dict[str, Any] = field(default_factory=dict)
    task: Task = SINGLE_LABEL
    trained_on: np.ndarray | None = None
    custom: dict[str, float] = field(default_factory=dict)
    scored_s: float = 0.0

    @property
    def units(self) -> Units:
        """Units that the bootstrap draws for the confidence intervals: groups or clips."""
        return Units.of([clip.group for clip in self.table])

    def to_dict(self) -> dict[str, object]:
        """Return all metrics for ``metrics.json``."""
        decided = {"decision": {"temperature": self.decision.temperature, **self.decided}} if self.decided else {}
        trained_on = {} if self.trained_on is None else {"clips_trained_on": int(self.trained_on.sum())}
        extra = {"metric_folder": self.extra} if self.extra else {}
        extra |= {"custom_metrics": self.custom} if self.custom else {}
        return {**self.metrics.to_dict(), **decided, **extra, **trained_on}

    def warnings(self) -> list[str]:
        """Return the warning that the model was trained on some of the clips, if it was."""
        trained_on = "" if self.trained_on is None else how_many_trained_on(self.trained_on)
        return [trained_on] if trained_on else []

    def summary_lines(self) -> list[str]:
        """Return lines with the most important metrics."""
        extra = {"metric folder": self.extra, "custom metrics": self.custom}
        decided = summary_line(self.decision, self.decided) if self.decided else ""
        lines = [*self.metrics.summary_lines(), f"decision: {decided}" if decided else ""]
        for title, figures in extra.items():
            named = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
            lines.append(f"{title}: {named}" if named else "")
        return [line for line in lines if line]


def judge(
    logits: np.ndarray,
    table: ClipTable,
    labels: Sequence[str],
    extra: ExtraMetrics | None = None,
    decision: Decision = PLAIN,
) -> Judged:
    """Compare logits (N, C) with the labels of N clips; ``decision`` holds the task.

    Args:
        logits: float32 (N, C), in the order of the table.
        table: labelled clips.
        labels: class names in the order of the logits.
        extra: metrics to compute in addition to the built-in ones.
        decision: fitted temperature and thresholds; the temperature is already applied to the logits.
    """
    task = decision.task
    targets = table_targets(table, labels, task)
    thresholds = task.thresholds(decision, labels)
    units = Units.of([clip.group for clip in table])
    metrics = task.figures(logits, targets, labels, FigureOptions(thresholds, units))
    extra = extra or ExtraMetrics()
    judged = Judged(
        table,
        targets,
        logits,
        labels,
        metrics,
        extra.of_folder(task, logits, targets, thresholds),
        decision,
        task=task,
        custom=extra.of_functions(task, logits, targets, thresholds),
    )
    if decision.is_plain:
        return judged
    scores = task.scores(logits.astype(np.float64))
    predictions = task.decided(scores, labels, decision)
    decided = task.decision_figures(LabelledScores(scores, targets, labels), predictions, decision)
    return replace(judged, decided=decided)


def _more_columns(judged: Judged) -> dict[str, list[object]]:
    """Return columns that only some tables have: groups, parts of recordings, and clips that were trained on."""
    table = judged.table
    columns: dict[str, list[Any]] = {
        "group": [clip.group or "" for clip in table],
        "file": [os.path.abspath(clip.path) if clip.path else "" for clip in table],
        "offset_s": [clip.offset_s or "" for clip in table],
        "duration_s": ["" if clip.duration_s is None else clip.duration_s for clip in table],
    }
    if columns["file"] == [clip.source for clip in table]:
        del columns["file"]
    if judged.trained_on is not None:
        columns["trained_on"] = [int(trained_on) for trained_on in judged.trained_on]
    return {name: values for name, values in columns.items() if any(values)}


def write_predictions(folder: RunFolder, split: str, judged: Judged) -> None:
    """Write ``predictions_SPLIT.csv``: path, label, predicted, score, correct, and the probability of every class.

    ``predicted`` is the most likely class. If the model has thresholds, ``answer``, after the probabilities, is the
    prediction with them. The last columns are optional: ``group``, if clips have groups (empty for a clip without one);
    ``file``, ``offset_s`` and ``duration_s``, if clips are parts of recordings; and ``trained_on``, 1 or 0, if the
    model was trained on any of the clips. With several labels per clip, ``label`` and ``predicted`` name all of them,
    and there is no ``score``. For a regression, the columns are path, label, predicted, error.
    :mod:`earmark.runs.predictions` reads the file.
    """
    sources = [clip.source for clip in judged.table]
    clips = LabelledScores(judged.task.scores(judged.logits), judged.targets, judged.labels)
    heads, rows = judged.task.prediction_rows(sources, clips, judged.decision)
    more = _more_columns(judged)
    with writing(folder.predictions(split)) as stream:
        stream.write(csv_row([*heads, *more]))
        stream.writelines(csv_row([*row, *(values[at] for values in more.values())]) for at, row in enumerate(rows))
