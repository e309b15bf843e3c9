"""Convert the labels of a table to numbers for losses and metrics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from earmark.clips.clip import ClipTable
from earmark.tasks import SINGLE_LABEL, Task


def table_targets(table: ClipTable, labels: Sequence[str], task: Task = SINGLE_LABEL) -> np.ndarray:
    """Return the targets of a labelled table. See :meth:`earmark.tasks.task.Task.targets`.

    Args:
        table: clips with labels of this task.
        labels: class names, by index.
        task: task of the labels.
    """
    known = [clip.label for clip in table if clip.label is not None]
    assert len(known) == len(table), f"{next(clip.source for clip in table if clip.label is None)} has no label"
    return task.targets(known, labels)
