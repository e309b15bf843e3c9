"""Fit one threshold for each class or label, so that its predictions reach a precision."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from earmark.stats.thresholds import lowest_threshold
from earmark.tasks.decision import NEVER
from earmark.text import and_more

_NAMED = 10  # maximum number of labels in one line


@dataclass(frozen=True)
class LabelPredictions:
    """The M clips for which a label may be predicted.

    Attributes:
        label: name of the label.
        scores: probability of the label for each of these clips, float (M,).
        right: whether the label is right for each of them, bool (M,).
        has_clips: whether any clip has the label.
        in_words: the label, and how often it is right, for a message.
    """

    label: str
    scores: np.ndarray
    right: np.ndarray
    has_clips: bool
    in_words: str


def fit_label_thresholds(
    predictions: Iterable[LabelPredictions], precision: float | None, *, noun: str, otherwise: str, no_clip: str
) -> tuple[dict[str, float], list[str]]:
    """Return the lowest threshold of each label at which its predictions reach a precision.

    Args:
        predictions: the possible predictions of each label.
        precision: the precision to reach; ``None`` to fit nothing.
        noun: noun for a label: ``class``.
        otherwise: what happens if no label is precise enough, for the note.
        no_clip: why a label without clips is never predicted, for the note.

    Returns:
        ``(thresholds, notes)``: thresholds by label, :data:`NEVER` if no threshold reaches the precision; and a line
        for each reason why labels are never predicted.
    """
    if precision is None:
        return {}, []
    thresholds: dict[str, float] = {}
    too_low, without = [], []
    for one in predictions:
        threshold = lowest_threshold(one.scores, one.right, precision)
        thresholds[one.label] = NEVER if threshold is None else threshold
        if not one.has_clips:
            without.append(repr(one.label))
        elif threshold is None:
            too_low.append(one.in_words)
    if all(threshold == NEVER for threshold in thresholds.values()):
        return thresholds, [f"no {noun} reaches --target_precision {precision:g}: {otherwise}"]
    reasons = {no_clip: without, f"--target_precision {precision:g} is out of reach": too_low}
    return thresholds, [
        f"never predicted, because {why}: {and_more(labels, _NAMED)}" for why, labels in reasons.items() if labels
    ]
