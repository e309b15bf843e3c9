"""Fit the threshold of each class, or of each of several labels, to a precision."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from earmark.stats.thresholds import lowest_threshold
from earmark.tasks.decision import NEVER
from earmark.text import and_more

_NAMED = 10  # labels in one line


@dataclass(frozen=True)
class LabelAnswers:
    """The M clips that may be answered with a label.

    Attributes:
        label: its name.
        scores: probability of the label in each of them, float (M,).
        right: whether it is right, bool (M,).
        has_clips: whether any clip has the label.
        in_words: the label, and how often it is right, for a message.
    """

    label: str
    scores: np.ndarray
    right: np.ndarray
    has_clips: bool
    in_words: str


def fit_label_thresholds(
    answers: Iterable[LabelAnswers], precision: float | None, *, noun: str, otherwise: str, no_clip: str
) -> tuple[dict[str, float], list[str]]:
    """Return the lowest probability of each label from which on its answers are as precise as asked for.

    Args:
        answers: of each label.
        precision: what is asked for; ``None`` if nothing is.
        noun: what a label is: ``class``.
        otherwise: what happens if no label is precise enough.
        no_clip: why a label without clips is never answered.

    Returns:
        ``(thresholds, notes)``: by label, :data:`NEVER` if none is high enough; a line for each kind of label that is
        never answered.
    """
    if precision is None:
        return {}, []
    thresholds: dict[str, float] = {}
    too_low, without = [], []
    for of in answers:
        threshold = lowest_threshold(of.scores, of.right, precision)
        thresholds[of.label] = NEVER if threshold is None else threshold
        if not of.has_clips:
            without.append(repr(of.label))
        elif threshold is None:
            too_low.append(of.in_words)
    if all(threshold == NEVER for threshold in thresholds.values()):
        return thresholds, [f"no {noun} reaches --target_precision {precision:g}: {otherwise}"]
    reasons = {no_clip: without, f"--target_precision {precision:g} is out of reach": too_low}
    return thresholds, [
        f"never answered, because {why}: {and_more(labels, _NAMED)}" for why, labels in reasons.items() if labels
    ]
