"""Order clips by how much checking them helps.

Shapes: N clips, D width of an embedding, C classes.
"""

from __future__ import annotations

import numpy as np

# Numbers of clips that are ordered by diversity, and of candidates for them. The others are ordered by doubt.
_MOST_DIVERSE, _CHOSEN_FROM = 2000, 10_000


def most_first(values: np.ndarray) -> np.ndarray:
    """Return rows sorted by a value (N,), largest first, int64 (N,)."""
    return np.argsort(-values, kind="stable")


def shuffled(count: int, seed: int) -> np.ndarray:
    """Return all rows in random order, int64 (N,)."""
    return np.random.default_rng(seed).permutation(count)


def normalised_margins(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Return the model's probability of each clip's existing class minus the probability of the best other class: the
    normalised margin of Northcutt et al. 2021, "Confident Learning" (arXiv:1911.00068).

    Args:
        probabilities: float (N, C).
        given: existing class of each clip, int (N,); -1 if the model does not have it.

    Returns:
        float (N,), from -1 to 1.
    """
    rows = np.arange(len(given))
    of_given = np.where(given >= 0, probabilities[rows, given], 0.0)
    others = probabilities.copy()
    others[rows[given >= 0], given[given >= 0]] = -1.0
    margin: np.ndarray = of_given - others.max(axis=1)
    return margin


def least_agreement(probabilities: np.ndarray, given: np.ndarray, has_unknown: np.ndarray) -> np.ndarray:
    """Return how much a model agrees with the least likely label of each clip: the lowest of the
    probabilities of existing labels, and of 1 minus the probabilities of the others. Northcutt et al. 2021
    (arXiv:1911.00068) call this the self-confidence of one label.

    Args:
        probabilities: float (N, C).
        given: existing labels of each clip, bool (N, C).
        has_unknown: whether the clip also has a label that the model does not have, bool (N,).

    Returns:
        float (N,), from 0 to 1; -1 if a label is unknown.
    """
    agreement = np.where(given, probabilities, 1.0 - probabilities).min(axis=1)
    return np.where(has_unknown, -1.0, agreement)


def diverse(doubts: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """Return rows in an order that prefers doubtful clips unlike the previous ones, so that the first clips vary.

    The choice is greedy: the next clip has the largest product of doubt and distance to the nearest previous clip.
    Distances are measured as in k-center-greedy (Sener and Savarese 2018, arXiv:1708.00489), between embeddings that
    are centred and have length 1. Weighting by doubt is a variant of Ash et al. 2020 (BADGE, arXiv:1906.03671), whose
    gradient embeddings are longer if the model is unsure.

    Args:
        doubts: doubt about each clip, float (N,), at least 0.
        embeddings: float (N, D).

    Returns:
        int64 (N,): the first 2,000 chosen from the 10,000 most doubtful; the others by doubt alone.
    """
    by_doubt = most_first(doubts)
    pool = by_doubt[:_CHOSEN_FROM]
    doubt = doubts[pool]
    centred = embeddings[pool] - embeddings.mean(axis=0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    nearest = np.full(len(doubt), 2.0)  # the largest distance between vectors of length 1
    left = np.ones(len(doubt), dtype=bool)
    chosen: list[int] = []
    for _ in range(min(len(doubt), _MOST_DIVERSE)):
        row = int(np.argmax(np.where(left, doubt * nearest, -1.0)))
        chosen.append(row)
        left[row] = False
        nearest = np.minimum(nearest, np.maximum(0.0, 1.0 - unit @ unit[row]))
    return np.concatenate([pool[chosen], pool[left], by_doubt[_CHOSEN_FROM:]])


def margins(probabilities: np.ndarray) -> np.ndarray:
    """Return the margin between the two most likely classes, float64 (N,); 1 if there is only one class (Scheffer et
    al. 2001, "Active Hidden Markov Models for Information Extraction"; Settles 2009, "Active Learning Literature
    Survey", section 3.1).

    Args:
        probabilities: float (N, C).
    """
    if probabilities.shape[1] < 2:
        return np.ones(len(probabilities))
    two = np.partition(probabilities, -2, axis=1)[:, -2:]
    ahead: np.ndarray = (two[:, 1] - two[:, 0]).astype(np.float64)
    return ahead


def entropies(probabilities: np.ndarray) -> np.ndarray:
    """Return the entropy of a clip's labels in bits, float64 (N,): the information gained by labelling it (Settles
    2009, section 3.1), if labels are independent.

    Args:
        probabilities: float (N, C), of each label.
    """
    p = np.clip(probabilities.astype(np.float64), 1e-12, 1 - 1e-12)
    bits: np.ndarray = -(p * np.log2(p) + (1 - p) * np.log2(1 - p)).sum(axis=1)
    return bits
