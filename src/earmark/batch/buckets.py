"""Put clips of similar length into one batch (length buckets), to compute little padding.

A batch of random clips is padded to its longest clip: for speech of 0.5 to 16 s, 64 to 74 % of the work would be
padding. Here every batch has one of a few lengths, the edges of the buckets. Accelerators that compile a program for
each shape need few lengths anyway.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

_MOST_BUCKETS = 32
_CANDIDATES = 256  # maximum number of lengths to consider as edges


def bucket_edges(num_samples: np.ndarray, waste: float) -> np.ndarray:
    """Return the fewest lengths to pad clips to with at most ``waste`` padding, but at most 32.

    Args:
        num_samples: clip lengths, int (N,), N >= 1.
        waste: largest allowed fraction of padding in all samples of the padded clips; 1 gives one bucket.

    Returns:
        Increasing lengths, int64 (K,); the last is the length of the longest clip.
    """
    num_samples = np.asarray(num_samples, dtype=np.int64)
    lengths, counts = _candidates(num_samples)
    total = num_samples.sum()
    if waste >= 1 or len(lengths) == 1:
        return lengths[-1:]
    # padded[i, j]: samples if the candidates i to j are padded to length j. The best split into k buckets follows from
    # the best split into k - 1 (dynamic programming).
    counted = np.concatenate([[0], np.cumsum(counts)])
    padded = (counted[None, 1:] - counted[:-1, None]) * lengths[None, :].astype(np.float64)
    padded[np.tril_indices(len(lengths), -1)] = np.inf
    cost = padded[0].copy()
    came_from: list[np.ndarray] = []
    while 1 - total / cost[-1] > waste and len(came_from) + 1 < min(_MOST_BUCKETS, len(lengths)):
        ways = np.concatenate([[np.inf], cost[:-1]])[:, None] + padded  # bucket i to j after the best split to i - 1
        came_from.append(ways.argmin(axis=0))
        cost = ways.min(axis=0)
    ends, last = [len(lengths) - 1], len(lengths) - 1
    for first_of_last in reversed(came_from):
        last = int(first_of_last[last]) - 1
        ends.append(last)
    return lengths[ends[::-1]]


def _candidates(num_samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return possible edges, all lengths or 256 quantiles, int64 (Q,), and the number of clips in each bucket, (Q,)."""
    lengths = np.unique(num_samples)
    if len(lengths) > _CANDIDATES:
        lengths = np.unique(np.quantile(num_samples, np.linspace(0, 1, _CANDIDATES + 1)[1:], method="higher"))
    counts = np.bincount(np.searchsorted(lengths, num_samples), minlength=len(lengths))
    return lengths, counts


def padded_share(num_samples: np.ndarray, edges: np.ndarray) -> float:
    """Return the fraction of padding if every clip is padded to the next edge."""
    padded = edges[np.searchsorted(edges, num_samples)]
    return float(1 - num_samples.sum() / padded.sum())


class BucketSampler(Sampler[int]):
    """Yields the rows of a table so that each step of ``step_size`` consecutive rows has clips of similar length.

    Every epoch yields every row once, in a new order that depends only on the seed, the epoch and the step size. So a
    step takes the same clips on one process and on eight. All steps except the last are full: the remaining clips of a
    bucket join the next longer ones.

    All processes need the same number of batches. If the last step cannot be divided evenly, some of its rows are
    repeated as ``row + N``, and :func:`earmark.batch.dataset.rows_and_labels` excludes them from the loss.

    Args:
        num_samples: clip lengths, int (N,).
        edges: bucket edges; a clip longer than the last edge is put into the last bucket.
        step_size: clips in one optimizer step, over all processes and accumulated batches.
        share_size: clips in one batch of all processes together; must divide ``step_size``; 1 for a single process.
        seed: seed of the order.
        drop_last: do not fill up the last step, because the data loader drops incomplete batches.
    """

    def __init__(
        self,
        num_samples: np.ndarray,
        edges: np.ndarray,
        step_size: int,
        *,
        share_size: int = 1,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        assert step_size % share_size == 0, "a step consists of whole batches"
        self.bucket = np.minimum(np.searchsorted(edges, num_samples), len(edges) - 1)
        self.step_size = step_size
        self.num_repeated = 0 if drop_last else -len(self.bucket) % share_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch; called by the data loader."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.bucket) + self.num_repeated

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Return all rows in random order, int64 (N,)."""
        return rng.permutation(len(self.bucket))

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self.seed, self.epoch))
        shuffled = self.draw(rng)
        rows = shuffled[np.argsort(self.bucket[shuffled], kind="stable")]  # by bucket, shuffled within each
        ends = np.cumsum(np.bincount(self.bucket[shuffled], minlength=1))
        steps: list[np.ndarray] = []
        left: np.ndarray = rows[:0]
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            mine = np.concatenate([left, rows[start:end]])  # clips left over from a shorter bucket get more padding
            full = len(mine) - len(mine) % self.step_size
            steps += list(mine[:full].reshape(-1, self.step_size))
            left = mine[full:]
        order = rng.permutation(len(steps))
        for step in [*(steps[i] for i in order), left]:
            yield from step.tolist()
        yield from (np.resize(left, self.num_repeated) + len(self.bucket)).tolist()
