"""Labels as numbers: what a loss is taken against and what figures are computed from.

Shapes: N clips, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from earmark.data.clips import ClipTable
from earmark.tasks import Task


def targets_of(table: ClipTable, labels: Sequence[str], task: Task = Task.SINGLE_LABEL) -> np.ndarray:
    """The targets of a labelled table.

    Args:
        table: N clips, whose labels are of this task.
        labels: C class names, index by index.
        task: what the labels are.

    Returns:
        int64 (N,), class indices; of several labels float32 (N, C), 1 where a label is there and 0 elsewhere; in a
        regression float32 (N,), the numbers.
    """
    unlabelled = next((clip.source for clip in table if clip.label is None), None)
    assert unlabelled is None, f"{unlabelled} has no label"
    if task is Task.REGRESSION:
        return np.array([clip.label for clip in table], dtype=np.float32)
    index = {label: i for i, label in enumerate(labels)}
    if task is Task.SINGLE_LABEL:
        return np.array([index[clip.classes[0]] for clip in table], dtype=np.int64)
    there = np.zeros((len(table), len(labels)), dtype=np.float32)
    for row, clip in enumerate(table):
        there[row, [index[name] for name in clip.classes]] = 1
    return there
