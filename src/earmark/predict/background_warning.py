"""The warning for models that score windows and have no background class."""

from __future__ import annotations

from collections.abc import Sequence

from earmark.tasks import Task
from earmark.tasks.decision import Decision

REMEDY = (
    "Train with a background class (earmark train --background_dir FOLDER), or fit a threshold (earmark calibrate RUN "
    "--reject_target_precision 0.95)"
)


def lacks_background(task: Task, decision: Decision, background_class: str | None) -> bool:
    """Return whether a model has no background class and rejects nothing, so that any audio gets one of its classes."""
    return task.has_one_class and background_class is None and not decision.rejects


def warn_of_windows(where: str, labels: Sequence[str]) -> str:
    """Return the warning if :func:`lacks_background` is true; ``where`` names the flag that makes windows."""
    return (
        f"{where}: this model has no background class, so windows with none of its {len(labels)} classes "
        f"also get one of these labels. {REMEDY}"
    )
