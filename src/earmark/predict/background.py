"""What to say about a model without a background class that scores recordings window by window."""

from __future__ import annotations

from collections.abc import Sequence

from earmark.models.decision import Decision
from earmark.tasks import Task

REMEDY = (
    "Train with a background class (earmark train --background_dir FOLDER), or fit a threshold (earmark calibrate RUN "
    "--reject_target_precision 0.95)"
)


def lacks_background(task: Task, decision: Decision, background_class: str | None) -> bool:
    """Whether a model names one of its classes whatever it is given: it has no background class and rejects nothing."""
    return task is Task.SINGLE_LABEL and background_class is None and not decision.rejects


def warn_of_windows(where: str, labels: Sequence[str]) -> str:
    """Return the warning for a model that :func:`lacks_background`; ``where`` says what scores windows."""
    return (
        f"{where}: this model has no background class, so windows in which none of its {len(labels)} classes occurs "
        f"are labelled as one of them too. {REMEDY}"
    )
