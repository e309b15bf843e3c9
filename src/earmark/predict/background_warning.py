"""Background classes of a model that scores windows, and a warning for models without one."""

from __future__ import annotations

from collections.abc import Sequence

from earmark.sources.background import is_background
from earmark.tasks import Task
from earmark.tasks.decision import Decision

REMEDY = (
    "Train with a background class (earmark train --background_dir FOLDER), or fit a threshold (earmark calibrate RUN "
    "--reject_target_precision 0.95)"
)


def lacks_background(task: Task, decision: Decision, background_class: str | None) -> bool:
    """Return whether a model predicts one of its classes for any audio: no background class, and rejects nothing."""
    return task.has_one_class and background_class is None and not decision.rejects


def background_classes(
    task: Task, labels: Sequence[str], decision: Decision, background_class: str | None
) -> list[str]:
    """Return the classes that mean "none of the other classes".

    These are the background class from training, the class that calibration rejects, and classes with a background
    name. For multi-label models, where labels occur together, a label such as ``noise`` is a class like the others.

    Args:
        task: task of the model.
        labels: its classes.
        decision: its thresholds.
        background_class: its background class, if known.
    """
    if not task.has_one_class:
        return []
    named = {background_class, decision.reject_label}
    found = [label for label in labels if label in named or is_background(label)]
    return found if len(found) < len(labels) else []


def warn_of_windows(where: str, labels: Sequence[str]) -> str:
    """Return the warning for a model that :func:`lacks_background`. ``where`` names the flag that makes windows."""
    return (
        f"{where}: this model has no background class, so windows with none of its {len(labels)} classes "
        f"also get one of these labels. {REMEDY}"
    )
