"""Labels of a table as numbers: what a loss is taken against and what figures are computed from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from earmark.clips.clip import ClipTable
from earmark.tasks import SINGLE_LABEL, Task


def table_targets(table: ClipTable, labels: Sequence[str], task: Task = SINGLE_LABEL) -> np.ndarray:
    """Return the targets of a labelled table, see :meth:`earmark.tasks.task.Task.targets`.

    Args:
        table: clips whose labels are of this task.
        labels: class names, index by index.
        task: what the labels are.
    """
    known = [clip.label for clip in table if clip.label is not None]
    assert len(known) == len(table), f"{next(clip.source for clip in table if clip.label is None)} has no label"
    return task.targets(known, labels)
