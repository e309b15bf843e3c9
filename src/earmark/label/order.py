"""Which clips are worth checking first.

Shapes: N clips, D width of an embedding, C classes.
"""

from __future__ import annotations

import numpy as np

# Clips that are put in order by what is unlike them, and how many they are chosen from; the others go by doubt.
_MOST_DIVERSE, _CHOSEN_FROM = 2000, 10_000


def most_first(values: np.ndarray) -> np.ndarray:
    """Return rows in order of a value (N,), the largest first, int64 (N,)."""
    return np.argsort(-values, kind="stable")


def shuffled(count: int, seed: int) -> np.ndarray:
    """All rows in an order that has nothing to do with the model, int64 (N,)."""
    return np.random.default_rng(seed).permutation(count)


def normalised_margins(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Return what a model thinks of the given class of each clip, minus what it thinks of the best other class: the
    normalised margin of Northcutt et al. 2021, "Confident Learning" (arXiv:1911.00068).

    Args:
        probabilities: float (N, C).
        given: class of each clip, int (N,); -1 if the model does not have it.

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
    """Return how far a model agrees with the labels of each clip where it agrees least: the probability of a label that
    is given, 1 minus that of one that is not, the lowest of all. Each is what Northcutt et al. 2021 (arXiv:1911.00068)
    call self-confidence, of one label.

    Args:
        probabilities: float (N, C).
        given: which labels each clip has, bool (N, C).
        has_unknown: whether it has a label besides that the model does not know, bool (N,).

    Returns:
        float (N,), from 0 to 1; -1 if a label is unknown.
    """
    agreement = np.where(given, probabilities, 1.0 - probabilities).min(axis=1)
    return np.where(has_unknown, -1.0, agreement)


def diverse(doubts: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """Doubtful clips that are unlike those before them, so that the first page is not one sound twenty times.

    Greedy: the next clip is the one whose doubt times distance to the nearest clip before it is greatest.
    Distances are those of k-center-greedy (Sener and Savarese 2018, arXiv:1708.00489), between embeddings that are
    centred and of length 1; weighting them by doubt is ours, after the same idea in Ash et al. 2020 (BADGE,
    arXiv:1906.03671), whose gradient embeddings are long where the model doubts.

    Args:
        doubts: of each clip, float (N,), 0 or more.
        embeddings: float (N, D).

    Returns:
        int64 (N,), rows in order: the first 2,000 so, of the 10,000 doubted most; the others by doubt alone.
    """
    by_doubt = most_first(doubts)
    pool = by_doubt[:_CHOSEN_FROM]
    doubt = doubts[pool]
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
    """Return how far the likeliest class is ahead of the next, float64 (N,); 1 if there is one class only (Scheffer et
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
    """Return the entropy of which labels a clip has, in bits, float64 (N,): how much its labels would tell (Settles
    2009, section 3.1), if each label is there or not whatever the others are.

    Args:
        probabilities: float (N, C), of each label by itself.
    """
    p = np.clip(probabilities.astype(np.float64), 1e-12, 1 - 1e-12)
    bits: np.ndarray = -(p * np.log2(p) + (1 - p) * np.log2(1 - p)).sum(axis=1)
    return bits
