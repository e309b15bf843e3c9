"""Which clips are worth checking first.

Shapes: N clips, D width of an embedding, C classes.
"""

from __future__ import annotations

import numpy as np

# Clips that are put in order by what is unlike them, and how many they are chosen from; the others go by doubt.
_MOST_DIVERSE, _CHOSEN_FROM = 2000, 10_000


def uncertain(probabilities: np.ndarray) -> np.ndarray:
    """Clips with the least margin between the two likeliest classes first (Scheffer et al. 2001, "Active Hidden Markov
    Models for Information Extraction"; Settles 2009, "Active Learning Literature Survey", section 3.1).

    Args:
        probabilities: float (N, C).

    Returns:
        int64 (N,), rows in order.
    """
    return np.argsort(margins(probabilities), kind="stable")


def confident(probabilities: np.ndarray) -> np.ndarray:
    """Clips with the greatest probability first, int64 (N,)."""
    return np.argsort(-probabilities.max(axis=1), kind="stable")


def shuffled(count: int, seed: int) -> np.ndarray:
    """All rows in an order that has nothing to do with the model, int64 (N,)."""
    return np.random.default_rng(seed).permutation(count)


def suspicious(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Given labels first whose class the model thinks the least of, beside its best other class: the normalised margin
    of Northcutt et al. 2021, "Confident Learning" (arXiv:1911.00068).

    Args:
        probabilities: float (N, C).
        given: class of each clip, int (N,); -1 where the model does not have it.

    Returns:
        int64 (N,), rows in order.
    """
    rows = np.arange(len(given))
    of_given = np.where(given >= 0, probabilities[rows, given], 0.0)
    others = probabilities.copy()
    others[rows[given >= 0], given[given >= 0]] = -1.0
    return np.argsort(of_given - others.max(axis=1), kind="stable")


def diverse(probabilities: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """Clips of little margin that are unlike those before them, so that the first page is not one sound twenty times.

    Greedy: the next clip is the one whose doubt (1 - margin) times distance to the nearest clip before it is greatest.
    Distances are those of k-center-greedy (Sener and Savarese 2018, arXiv:1708.00489), between embeddings that are
    centred and of length 1; weighting them by doubt is ours, after the same idea in Ash et al. 2020 (BADGE,
    arXiv:1906.03671), whose gradient embeddings are long where the model doubts.

    Args:
        probabilities: float (N, C).
        embeddings: float (N, D).

    Returns:
        int64 (N,), rows in order: the first 2,000 so, of the 10,000 of least margin; the others by margin alone.
    """
    by_doubt = uncertain(probabilities)
    pool = by_doubt[:_CHOSEN_FROM]
    doubt = 1.0 - margins(probabilities[pool])
    centred = embeddings[pool] - embeddings.mean(axis=0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    nearest = np.full(len(doubt), 2.0)  # the farthest two vectors of length 1 can be
    left = np.ones(len(doubt), dtype=bool)
    chosen: list[int] = []
    for _ in range(min(len(doubt), _MOST_DIVERSE)):
        row = int(np.argmax(np.where(left, doubt * nearest, -1.0)))
        chosen.append(row)
        left[row] = False
        nearest = np.minimum(nearest, np.maximum(0.0, 1.0 - unit @ unit[row]))
    return np.concatenate([pool[chosen], pool[left], by_doubt[_CHOSEN_FROM:]])


def margins(probabilities: np.ndarray) -> np.ndarray:
    """How far the likeliest class is ahead of the next, float (N,); 1 where there is one class only."""
    if probabilities.shape[1] < 2:
        return np.ones(len(probabilities))
    two = np.partition(probabilities, -2, axis=1)[:, -2:]
    ahead: np.ndarray = two[:, 1] - two[:, 0]
    return ahead
