"""What runs of each task answered to clips, in folders of their own: the tests compare them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from earmark.clips.clip import Clip, ClipTable, Label
from earmark.runs.folder import RunFolder, write_json
from earmark.runs.judged import judge, write_predictions
from earmark.tasks import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Task
from earmark.tasks.decision import Decision

CLASSES = ["a", "b"]
LABELS = ["a", "b, with a comma"]


def of_classes(folder: Path, right: list[bool], *, split: str = "test", order: list[int] | None = None) -> Path:
    """Clips whose classes take turns, and which of them are answered rightly."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"predictions_{split}.csv", "w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["path", "label", "predicted", "score", "correct"])
        for i in order or range(len(right)):
            label, other = CLASSES[i % 2], CLASSES[1 - i % 2]
            rows.writerow(
                [folder.parent / f"{i}.wav", label, label if right[i] else other, f"{0.5 + i / 100}", int(right[i])]
            )
    return folder


def of_groups(
    folder: Path, right: Sequence[bool], groups: Sequence[str | None], rows: Sequence[int] = (), times: int = 1
) -> str:
    """As :func:`of_classes`, written as a run writes it: clips with groups, each ``times`` times."""
    logits = np.array([[1.0, 0] if (i % 2 == 0) == is_right else [0, 1.0] for i, is_right in enumerate(right)])
    chosen = np.repeat(list(rows) or np.arange(len(right)), times).tolist()
    names = [CLASSES[i % 2] for i in range(len(right))]
    return _written(folder, SINGLE_LABEL, CLASSES, names, logits, chosen, groups)


def of_labels(
    folder: Path,
    there: np.ndarray,
    logits: np.ndarray,
    labels: Sequence[str] = LABELS,
    rows: Sequence[int] = (),
    groups: Sequence[str | None] = (),
) -> str:
    """Labels that are there (N, C), and logits (N, C); of ``rows`` alone where they are given."""
    right = [tuple(label for label, is_there in zip(labels, row, strict=True) if is_there) for row in there]
    return _written(folder, MULTI_LABEL, labels, right, logits, rows, groups)


def of_numbers(
    folder: Path,
    numbers: np.ndarray,
    answers: np.ndarray,
    rows: Sequence[int] = (),
    groups: Sequence[str | None] = (),
) -> str:
    """Numbers (N,) and answers (N,); of ``rows`` alone where they are given."""
    return _written(folder, REGRESSION, ["db"], [float(one) for one in numbers], answers[:, None], rows, groups)


def _written(
    folder: Path,
    task: Task,
    labels: Sequence[str],
    right: Sequence[Label],
    logits: np.ndarray,
    rows: Sequence[int],
    groups: Sequence[str | None],
) -> str:
    folder.mkdir(parents=True)
    chosen = list(rows) or list(range(len(right)))
    group_ids = groups or [None] * len(right)
    clips = [Clip(f"{i}.wav", right[i], str(folder.parent / f"{i}.wav"), group=group_ids[i]) for i in chosen]
    judged = judge(logits[chosen].astype(np.float32), ClipTable(clips, "here"), labels, decision=Decision(task=task))
    write_predictions(RunFolder(folder), "test", judged)
    write_json(RunFolder(folder).metrics, {"test": judged.to_dict()})
    return str(folder)


def noisy_labels(noise: float, seed: int, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """The same labels each time, bool (N, 2), and logits (N, 2) that tell them as well as noise lets them."""
    there = np.random.default_rng(0).random((count, 2)) < 0.4
    return there, 2.0 * there - 1 + noise * np.random.default_rng(seed).standard_normal((count, 2))


def noisy_numbers(noise: float, seed: int, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """The same numbers each time (N,), and answers (N,)."""
    numbers = np.random.default_rng(0).random(count) * 10
    return numbers, numbers + noise * np.random.default_rng(seed).standard_normal(count)
