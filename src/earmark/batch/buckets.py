"""Length buckets: clips of like length share a batch, so that little of the work is done on padding.

Batches of clips drawn at random are as long as their longest clip: of 0.5 to 16 s speech 64 to 74 % of the work would
be padding. Here a batch has one of a few lengths, the edges of the buckets, which accelerators that prepare a program
for each shape need anyway.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

_MOST_BUCKETS = 32
_CANDIDATES = 256  # lengths looked at when edges are chosen


def bucket_edges(num_samples: np.ndarray, waste: float) -> np.ndarray:
    """The fewest lengths to pad clips to so that padding is at most ``waste`` of all samples, and at most 32.

    Args:
        num_samples: clip lengths, int (N,), N >= 1.
        waste: most padding, as a share of all samples of the padded clips; 1 gives one bucket.

    Returns:
        Increasing lengths, int64 (K,); the last is the longest clip's.
    """
    num_samples = np.asarray(num_samples, dtype=np.int64)
    lengths, counts = _candidates(num_samples)
    total = num_samples.sum()
    if waste >= 1 or len(lengths) == 1:
        return lengths[-1:]
    # padded[i, j]: samples when the candidates i to j are padded to length j; the best split into k buckets follows
    # from the best into k - 1
    counted = np.concatenate([[0], np.cumsum(counts)])
    padded = (counted[None, 1:] - counted[:-1, None]) * lengths[None, :].astype(np.float64)
    padded[np.tril_indices(len(lengths), -1)] = np.inf
    cost = padded[0].copy()
    came_from: list[np.ndarray] = []
    while 1 - total / cost[-1] > waste and len(came_from) + 1 < min(_MOST_BUCKETS, len(lengths)):
        ways = np.concatenate([[np.inf], cost[:-1]])[:, None] + padded  # bucket from i to j behind the best up to i - 1
        came_from.append(ways.argmin(axis=0))
        cost = ways.min(axis=0)
    ends, last = [len(lengths) - 1], len(lengths) - 1
    for first_of_last in reversed(came_from):
        last = int(first_of_last[last]) - 1
        ends.append(last)
    return lengths[ends[::-1]]


def _candidates(num_samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths that can be an edge, int64 (Q,), and how many clips each takes, (Q,): all lengths, or 256 quantiles."""
    lengths = np.unique(num_samples)
    if len(lengths) > _CANDIDATES:
        lengths = np.unique(np.quantile(num_samples, np.linspace(0, 1, _CANDIDATES + 1)[1:], method="higher"))
    counts = np.bincount(np.searchsorted(lengths, num_samples), minlength=len(lengths))
    return lengths, counts


def padded_share(num_samples: np.ndarray, edges: np.ndarray) -> float:
    """Share of padding when every clip is padded to the next edge."""
    padded = edges[np.searchsorted(edges, num_samples)]
    return float(1 - num_samples.sum() / padded.sum())


class BucketSampler(Sampler[int]):
    """Rows of a table in an order whose runs of ``batch_size`` rows are of like length.

    Every epoch gives every row once, in a new order that depends on the seed and the epoch alone. All runs are full but
    the last: what is left of a bucket is put with the next longer ones. The ``num_ranks`` runs that are one step of a
    distributed run are of the same bucket wherever it has so many, so that no rank waits for a longer one.

    Args:
        num_samples: clip lengths, int (N,).
        edges: bucket edges; a clip longer than the last counts as that long.
        batch_size: clips in a batch of one rank.
        num_ranks: processes that each take every so-manyth batch.
        seed: of the order.
    """

    def __init__(
        self, num_samples: np.ndarray, edges: np.ndarray, batch_size: int, *, num_ranks: int = 1, seed: int = 0
    ) -> None:
        self.bucket = np.minimum(np.searchsorted(edges, num_samples), len(edges) - 1)
        self.batch_size = batch_size
        self.num_ranks = num_ranks
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch; called by the data loader."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.bucket)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self.seed, self.epoch))
        shuffled = rng.permutation(len(self.bucket))
        rows = shuffled[np.argsort(self.bucket[shuffled], kind="stable")]  # by bucket, shuffled within
        ends = np.cumsum(np.bincount(self.bucket, minlength=1))
        step = self.batch_size * self.num_ranks
        groups: list[np.ndarray] = []
        left: np.ndarray = rows[:0]
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            mine = np.concatenate([left, rows[start:end]])  # what a shorter bucket left is padded a little more
            full = len(mine) - len(mine) % step
            groups += list(mine[:full].reshape(-1, step))
            left = mine[full:]
        order = rng.permutation(len(groups))
        for group in [*(groups[i] for i in order), left]:
            yield from group.tolist()
