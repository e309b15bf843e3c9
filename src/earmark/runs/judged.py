"""One split, scored: its metrics and its per-clip predictions."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from earmark.data.clips import Clip, ClipTable
from earmark.errors import DataError
from earmark.models.decision import PLAIN, Decision
from earmark.runs.folder import RunFolder, writing
from earmark.scoring.decide import decision_figures, summary_line
from earmark.scoring.forward import softmax
from earmark.scoring.metric_folder import run_metric_folder
from earmark.scoring.metrics import Metrics, compute_metrics


@dataclass(frozen=True)
class Judged:
    """A scored split.

    Attributes:
        table: its N clips.
        targets: their class indices, int64 (N,).
        logits: float32 (N, C).
        labels: class names.
        metrics: all figures.
        extra: figures of a local metric folder, by name.
        decision: what was fitted for the model's answers; its temperature is in the logits already.
        decided: figures of these answers, see :func:`earmark.scoring.decide.decision_figures`; empty without any.
    """

    table: ClipTable
    targets: np.ndarray
    logits: np.ndarray
    labels: Sequence[str]
    metrics: Metrics
    extra: dict[str, float] = field(default_factory=dict)
    decision: Decision = PLAIN
    decided: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """All figures, for ``metrics.json``."""
        decided = {"decision": {"temperature": self.decision.temperature, **self.decided}} if self.decided else {}
        return {**self.metrics.to_dict(), **decided, **({"metric_folder": self.extra} if self.extra else {})}

    def summary_lines(self) -> list[str]:
        """All figures a person looks for first."""
        extra = ", ".join(f"{name} {value:.4f}" for name, value in self.extra.items())
        decided = summary_line(self.decision, self.decided) if self.decided else ""
        lines = [*self.metrics.summary_lines(), f"decision: {decided}" if decided else ""]
        return [line for line in (*lines, f"metric folder: {extra}" if extra else "") if line]


def targets_of(table: ClipTable, labels: Sequence[str]) -> np.ndarray:
    """Class indices int64 (N,) of a labelled table."""
    index = {label: i for i, label in enumerate(labels)}
    return np.array([index[clip.label or ""] for clip in table], dtype=np.int64)


def judge(
    logits: np.ndarray,
    table: ClipTable,
    labels: Sequence[str],
    metric_folder: str | None = None,
    decision: Decision = PLAIN,
) -> Judged:
    """Hold logits (N, C) against the labels of N clips.

    Args:
        logits: float32 (N, C), in the order of the table.
        table: labelled clips.
        labels: class names, index by index.
        metric_folder: folder of a local ``evaluate`` metric to compute as well.
        decision: how the model answers; its temperature is in the logits already.
    """
    targets = targets_of(table, labels)
    metrics = compute_metrics(logits, targets, labels)
    extra = run_metric_folder(metric_folder, logits.argmax(axis=1), targets) if metric_folder else {}
    decided: dict[str, Any] = {}
    if not decision.is_plain:
        probabilities = softmax(logits.astype(np.float64))
        answers = decision.answers(probabilities, labels)
        decided = decision_figures(probabilities, answers, targets, labels, decision)
    return Judged(table, targets, logits, labels, metrics, extra, decision, decided)


@dataclass(frozen=True)
class Predictions:
    """What a ``predictions_SPLIT.csv`` says of N clips.

    Attributes:
        clips: what each is called, and where its sound is.
        targets: their classes.
        answers: what the model answered.
        scores: the probability of that, float (N,).
    """

    clips: list[Clip]
    targets: list[str]
    answers: list[str]
    scores: np.ndarray


def read_predictions(path: Path) -> Predictions:
    """Read what :func:`write_predictions` wrote.

    Raises:
        DataError: it is missing or damaged.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            rows = list(csv.DictReader(stream))
        columns = {name: [row[name] for row in rows] for name in ("path", "label", "predicted", "score")}
        scores = np.array([float(score) for score in columns["score"]])
        clips = [_clip_of(row) for row in rows]
    except FileNotFoundError as exc:
        raise DataError(f"{path}: not there; `earmark train` and `earmark evaluate` write it") from exc
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as exc:
        raise DataError(f"{path}: damaged ({exc!r}); evaluate again to write it anew") from exc
    if not rows:
        raise DataError(f"{path}: has no rows; evaluate again to write it anew")
    return Predictions(clips, columns["label"], columns["predicted"], scores)


def _clip_of(row: dict[str, str]) -> Clip:
    length = row.get("duration_s")
    return Clip(
        row["path"],
        path=row.get("file") or row["path"],
        offset_s=float(row.get("offset_s") or 0),
        duration_s=float(length) if length else None,
    )


def _whereabouts(table: ClipTable) -> dict[str, list[Any]]:
    """Columns that say where the sound of each clip is, as far as ``path`` alone does not."""
    columns: dict[str, list[Any]] = {
        "file": [os.path.abspath(clip.path) if clip.path else "" for clip in table],
        "offset_s": [clip.offset_s or "" for clip in table],
        "duration_s": ["" if clip.duration_s is None else clip.duration_s for clip in table],
    }
    if columns["file"] == [clip.source for clip in table]:
        del columns["file"]
    return {name: values for name, values in columns.items() if any(values)}


def write_predictions(folder: RunFolder, split: str, judged: Judged) -> None:
    """Write ``predictions_SPLIT.csv``: path, label, predicted, score, correct, and the probability of every class.

    ``predicted`` is the most likely class; of a model with thresholds, ``answer``, behind the probabilities, is what
    it answers. The last columns are ``file``, ``offset_s`` and ``duration_s`` of the sound, where ``path`` is not all
    there is to say.
    """
    places = _whereabouts(judged.table)
    probabilities = softmax(judged.logits)
    best = probabilities.argmax(axis=1)
    with writing(folder.predictions(split)) as stream:
        rows = csv.writer(stream, lineterminator="\n")
        head = ["path", "label", "predicted", "score", "correct", *(f"p({label})" for label in judged.labels)]
        rows.writerow([*head, *(["answer"] if judged.decision.rejects else []), *places])
        for number, (clip, target, guess, row) in enumerate(
            zip(judged.table, judged.targets, best, probabilities, strict=True)
        ):
            rows.writerow(
                [
                    clip.source,
                    judged.labels[target],
                    judged.labels[guess],
                    f"{row[guess]:.6g}",
                    int(target == guess),
                    *(f"{value:.6g}" for value in row),
                    *([judged.decision.top(row, judged.labels)[0]["label"]] if judged.decision.rejects else []),
                    *(values[number] for values in places.values()),
                ]
            )
