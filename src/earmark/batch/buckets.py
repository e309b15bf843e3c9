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
    """Rows of a table in an order whose steps, each of ``step_size`` rows in a row, are of like length.

    Every epoch gives every row once, in a new order that depends on the seed, the epoch and the step size alone, so
    that a step takes the same clips on one process and on eight. All steps are full but the last: what is left of a
    bucket is put with the next longer ones.

    Processes must have as many batches each. Where the last step cannot be shared out evenly, rows of it are given
    again as ``row + N``; :func:`earmark.batch.dataset.rows_and_labels` makes them count for nothing.

    Args:
        num_samples: clip lengths, int (N,).
        edges: bucket edges; a clip longer than the last counts as that long.
        step_size: clips in one optimizer step, over all processes and accumulated batches.
        share_size: clips that all processes take at once, a batch each; divides ``step_size``. 1 for one process.
        seed: of the order.
        drop_last: leave the last step as it is, for a data loader that drops what is not full.
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
        assert step_size % share_size == 0, "a step is shared out in whole batches"
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
        """The rows of an epoch in random order, int64 (N,): each of them once."""
        return rng.permutation(len(self.bucket))

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self.seed, self.epoch))
        shuffled = self.draw(rng)
        rows = shuffled[np.argsort(self.bucket[shuffled], kind="stable")]  # by bucket, shuffled within
        ends = np.cumsum(np.bincount(self.bucket[shuffled], minlength=1))
        steps: list[np.ndarray] = []
        left: np.ndarray = rows[:0]
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            mine = np.concatenate([left, rows[start:end]])  # what a shorter bucket left is padded a little more
            full = len(mine) - len(mine) % self.step_size
            steps += list(mine[:full].reshape(-1, self.step_size))
            left = mine[full:]
        order = rng.permutation(len(steps))
        for step in [*(steps[i] for i in order), left]:
            yield from step.tolist()
        yield from (np.resize(left, self.num_repeated) + len(self.bucket)).tolist()
