"""Read ``predictions_SPLIT.csv``, which :mod:`earmark.runs.judged` writes.

Shapes: N clips, C labels.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from earmark.clips.clip import Clip
from earmark.errors import DataError
from earmark.runs.folder import RunFolder
from earmark.tasks import Task, task_registry

SPLITS = ("test", "validation", "unseen")  # in the order in which a comparison looks for them


@dataclass(frozen=True)
class Predictions:
    """Predictions and true labels of N clips.

    Attributes:
        task: task of the model.
        clips: name, group and recording of each clip.
        labels: C label names for a multi-label task, else empty.
        targets: class names (N,), labels as bool (N, C), or numbers float (N,).
        predictions: in the form of ``targets``.
        scores: probability of the predicted class, float (N,); of each label, float (N, C); for a regression, the
            predicted numbers.
        trained_on: which clips the model was trained on, as far as its run recorded them, bool (N,).
    """

    task: Task
    clips: list[Clip]
    labels: list[str]
    targets: np.ndarray
    predictions: np.ndarray
    scores: np.ndarray
    trained_on: np.ndarray


def splits_in(place: Path) -> list[str]:
    """Return the splits whose predictions a run folder has; for a cross-validation, ``test``, which every fold has."""
    own = [name for name in SPLITS if RunFolder(place).predictions(name).is_file()]
    return own or (["test"] if any(place.glob("fold_*")) else [])


def read_predictions(path: Path) -> Predictions:
    """Read a file of :func:`earmark.runs.judged.write_predictions`; its columns determine the task.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            rows = csv.reader(stream)
            heads = next(rows, [])
            found = _read(heads, (row for row in rows if row)) if heads else None
    except FileNotFoundError as exc:
        raise DataError(f"{path}: no such file. Run `earmark train` or `earmark evaluate`, which write it.") from exc
    except (OSError, ValueError, KeyError, IndexError, DataError, csv.Error) as exc:
        raise DataError(f"{path}: the file is damaged ({exc!r}). Evaluate again to replace it.") from exc
    if found is None or not found.clips:
        raise DataError(f"{path}: the file has no rows. Evaluate again to replace it.")
    return found


def _read(heads: Sequence[str], rows: Iterable[list[str]]) -> Predictions:
    place = {head: i for i, head in enumerate(heads)}
    fitting = [task for task in task_registry.TASKS if place.keys() >= {*task.row_columns}]
    task = max(fitting, key=lambda one: len(one.row_columns))
    target, predicted, path = place["label"], place["predicted"], place["path"]
    columns = task.score_columns(heads)
    scored = [place[column] for column in columns]
    labels = [column[2:-1] for column in columns if column.startswith("p(")]
    trained_on = []
    clips, targets, predictions, scores = [], [], [], array("d")  # text would take several times the memory
    for row in rows:
        clips.append(_read_clip(row, place, row[path]))
        trained_on.append("trained_on" in place and row[place["trained_on"]] == "1")
        targets.append(row[target])
        predictions.append(row[predicted])
        scores.extend(float(row[i]) for i in scored)
    known = np.array(trained_on, bool)
    read = task.read_rows(targets, predictions, np.array(scores).reshape(len(clips), len(scored)), labels)
    return Predictions(task, clips, labels, *read, known)


def _read_clip(row: Sequence[str], place: dict[str, int], source: str) -> Clip:
    def cell(name: str) -> str:
        return row[place[name]] if name in place else ""

    length = cell("duration_s")
    return Clip(
        source,
        path=cell("file") or source,
        group=cell("group") or None,
        offset_s=float(cell("offset_s") or 0),
        duration_s=float(length) if length else None,
    )
