"""Find the lowest thresholds that reach a precision or a false-accept rate.

Shapes: A predictions.
"""

from __future__ import annotations

import math

import numpy as np

_MARGIN = 1e-4  # keeps rounding errors from moving a clip across the threshold that was fitted on it


def lowest_threshold(scores: np.ndarray, right: np.ndarray, precision: float) -> float | None:
    """Return the lowest threshold at which the predictions have at least a given precision.

    Args:
        scores: probability of each prediction, float (A,).
        right: whether the prediction is right, bool (A,).
        precision: above 0 and at most 1.

    Returns:
        The threshold; 0 if all predictions together are this precise; ``None`` if no threshold reaches the
        precision, or there are no predictions.
    """
    if not len(scores):
        return None
    order = np.argsort(-scores, kind="stable")
    falling, hits = scores[order], np.cumsum(right[order])
    last_of_score = np.append(falling[1:] < falling[:-1], True)  # equal probabilities are on the same side
    # The tolerance is for fractions such as 0.95, which binary numbers round.
    reached = (hits >= precision * np.arange(1, len(scores) + 1) - 1e-9) & last_of_score
    if not reached.any():
        return None
    lowest = int(np.flatnonzero(reached)[-1])
    if lowest == len(scores) - 1:
        return 0.0
    below, above = float(falling[lowest + 1]), float(falling[lowest])
    return above - min(_MARGIN, (above - below) / 2)


def threshold_of_false_accepts(scores: np.ndarray, num_clips: int, rate: float) -> float:
    """Return the lowest threshold at which at most a fraction ``rate`` of background clips gets another class.

    Args:
        scores: probability of the wrong class for background clips that get one, float (A,).
        num_clips: number of all background clips.
        rate: from 0 to below 1.

    Returns:
        The threshold; infinity if too many clips get another class with a probability of 1.
    """
    allowed = math.floor(rate * num_clips + 1e-9)
    if len(scores) <= allowed:
        return 0.0
    highest_refused = float(np.sort(scores)[::-1][allowed])
    if highest_refused >= 1:
        return math.inf
    passing = scores[scores > highest_refused]
    lowest_passing = float(passing.min()) if len(passing) else 1.0
    return highest_refused + min(_MARGIN, (lowest_passing - highest_refused) / 2)
