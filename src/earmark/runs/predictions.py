"""What a ``predictions_SPLIT.csv`` says, read back; :mod:`earmark.runs.judged` writes it.

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
    """What a model answered to N clips, and what is right.

    Attributes:
        task: what was asked.
        clips: what each is called, its group, and where its sound is.
        labels: C names where a clip has several labels; else none.
        targets: names of classes (N,), which labels are there bool (N, C), or numbers float (N,).
        answers: alike.
        scores: probability of the class that is answered, float (N,); of each label, float (N, C); in a regression
            the answers.
        trained_on: which clips the model was trained on, as far as its run has recorded them, bool (N,).
    """

    task: Task
    clips: list[Clip]
    labels: list[str]
    targets: np.ndarray
    answers: np.ndarray
    scores: np.ndarray
    trained_on: np.ndarray


def splits_in(place: Path) -> list[str]:
    """Return the splits of which a folder has predictions; of a cross-validation test clips, which its folds have."""
    own = [name for name in SPLITS if RunFolder(place).predictions(name).is_file()]
    return own or (["test"] if any(place.glob("fold_*")) else [])


def read_predictions(path: Path) -> Predictions:
    """Read what :func:`earmark.runs.judged.write_predictions` wrote; its columns tell the task.

    Raises:
        DataError: it is missing or damaged.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            rows = csv.reader(stream)
            heads = next(rows, [])
            found = _read(heads, (row for row in rows if row)) if heads else None
    except FileNotFoundError as exc:
        raise DataError(f"{path}: not there; `earmark train` and `earmark evaluate` write it") from exc
    except (OSError, ValueError, KeyError, IndexError, DataError, csv.Error) as exc:
        raise DataError(f"{path}: damaged ({exc!r}); evaluate again to write it again") from exc
    if found is None or not found.clips:
        raise DataError(f"{path}: has no rows; evaluate again to write it again")
    return found


def _read(heads: Sequence[str], rows: Iterable[list[str]]) -> Predictions:
    place = {head: i for i, head in enumerate(heads)}
    fitting = [task for task in task_registry.TASKS if place.keys() >= {*task.row_columns}]
    task = max(fitting, key=lambda one: len(one.row_columns))
    target, answer, path = place["label"], place["predicted"], place["path"]
    columns = task.score_columns(heads)
    scored = [place[column] for column in columns]
    labels = [column[2:-1] for column in columns if column.startswith("p(")]
    trained_on = []
    clips, targets, answers, scores = [], [], [], array("d")  # rows of text would be several times as large
    for row in rows:
        clips.append(_read_clip(row, place, row[path]))
        trained_on.append("trained_on" in place and row[place["trained_on"]] == "1")
        targets.append(row[target])
        answers.append(row[answer])
        scores.extend(float(row[i]) for i in scored)
    known = np.array(trained_on, bool)
    read = task.read_rows(targets, answers, np.array(scores).reshape(len(clips), len(scored)), labels)
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
