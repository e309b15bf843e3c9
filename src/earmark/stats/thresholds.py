"""Probabilities from which on answers are as precise as asked for.

Shapes: A answers.
"""

from __future__ import annotations

import math

import numpy as np

_MARGIN = 1e-4  # between a threshold and what it was fitted on, so that the last bits of a sum do not decide


def lowest_threshold(scores: np.ndarray, right: np.ndarray, precision: float) -> float | None:
    """The lowest probability from which on a share of at least ``precision`` of the answers is right.

    Args:
        scores: probability of each answer, float (A,).
        right: whether it is right, bool (A,).
        precision: above 0 and at most 1.

    Returns:
        0 where all of them together are as precise; ``None`` where none of the probabilities is high enough, or there
        are no answers.
    """
    if not len(scores):
        return None
    order = np.argsort(-scores, kind="stable")
    falling, hits = scores[order], np.cumsum(right[order])
    last_of_score = np.append(falling[1:] < falling[:-1], True)  # answers of one probability come or go together
    # a hair's breadth for shares such as 0.95, which binary numbers round
    reached = (hits >= precision * np.arange(1, len(scores) + 1) - 1e-9) & last_of_score
    if not reached.any():
        return None
    lowest = int(np.flatnonzero(reached)[-1])
    if lowest == len(scores) - 1:
        return 0.0
    below, above = float(falling[lowest + 1]), float(falling[lowest])
    return above - min(_MARGIN, (above - below) / 2)


def threshold_of_false_accepts(scores: np.ndarray, num_clips: int, rate: float) -> float:
    """The lowest probability from which on at most a share ``rate`` of background clips is taken for something else.

    Args:
        scores: probability of the wrong class, of those background clips that are taken for one, float (A,).
        num_clips: all background clips.
        rate: from 0 to below 1.

    Returns:
        A probability; above 1 (infinity) where clips are taken for another class with a probability of 1.
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
