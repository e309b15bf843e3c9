"""One split, scored: its metrics and its per-clip predictions."""

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
from earmark.tasks.single_label_figures import Metrics
from earmark.tasks.task import FigureOptions


@dataclass(frozen=True)
class Judged:
    """A scored split.

    Attributes:
        table: its N clips.
        targets: of :func:`earmark.clips.targets.table_targets`: class indices int64 (N,), which labels are there
            float32 (N, C), or numbers float32 (N,).
        logits: float32 (N, C).
        labels: class names.
        metrics: all figures.
        extra: figures of a local metric folder, by name.
        custom: figures of metric functions, by name.
        decision: what was fitted for the model's answers; its temperature is in the logits already.
        decided: figures of these answers, see :meth:`earmark.tasks.task.Task.decision_figures`; empty without any.
        task: what was asked.
        trained_on: which clips the model was trained on, bool (N,); ``None`` where that is not known.
        scored_s: seconds that scoring took; 0 if it was not measured.
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
        """What its intervals are over: groups, or clips."""
        return Units.of([clip.group for clip in self.table])

    @property
    def single_label(self) -> Metrics:
        """The figures of single labels; only for these."""
        assert isinstance(self.metrics, Metrics), self.task
        return self.metrics

    def to_dict(self) -> dict[str, object]:
        """All figures, for ``metrics.json``."""
        decided = {"decision": {"temperature": self.decision.temperature, **self.decided}} if self.decided else {}
        trained_on = {} if self.trained_on is None else {"clips_trained_on": int(self.trained_on.sum())}
        extra = {"metric_folder": self.extra} if self.extra else {}
        extra |= {"custom_metrics": self.custom} if self.custom else {}
        return {**self.metrics.to_dict(), **decided, **extra, **trained_on}

    def warnings(self) -> list[str]:
        """What makes these figures wrong, whatever they are."""
        trained_on = "" if self.trained_on is None else how_many_trained_on(self.trained_on)
        return [trained_on] if trained_on else []

    def summary_lines(self) -> list[str]:
        """All figures a person looks for first."""
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
    """Hold logits (N, C) against the labels of N clips; the task is that of the decision.

    Args:
        logits: float32 (N, C), in the order of the table.
        table: labelled clips.
        labels: class names, index by index.
        extra: metrics to compute beside the built-in ones.
        decision: how the model answers; its temperature is in the logits already.
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
    answers = task.decided(scores, labels, decision)
    decided = task.decision_figures(LabelledScores(scores, targets, labels), answers, decision)
    return replace(judged, decided=decided)


def _more_columns(judged: Judged) -> dict[str, list[object]]:
    """Columns that some tables have: groups, where the sound is if not at ``path``, which clips were trained on."""
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

    ``predicted`` is the most likely class; of a model with thresholds, ``answer``, behind the probabilities, is what
    it answers. The last columns are ``group``, where clips have groups (empty for a clip without one), and ``file``,
    ``offset_s`` and ``duration_s`` of the sound, where ``path`` is not all there is to say, and ``trained_on``, where
    the model was trained on one of the clips: 1 for these, 0 for the others. Of several labels
    ``label`` and ``predicted`` name all of them and there is no ``score``; in a regression the columns are path, label,
    predicted, error. :mod:`earmark.runs.predictions` reads them.
    """
    sources = [clip.source for clip in judged.table]
    clips = LabelledScores(judged.task.scores(judged.logits), judged.targets, judged.labels)
    heads, rows = judged.task.prediction_rows(sources, clips, judged.decision)
    more = _more_columns(judged)
    with writing(folder.predictions(split)) as stream:
        stream.write(csv_row([*heads, *more]))
        stream.writelines(csv_row([*row, *(values[at] for values in more.values())]) for at, row in enumerate(rows))
