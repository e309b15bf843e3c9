"""Sample an epoch in which all classes come equally often, however many clips they have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from earmark.batch.buckets import BucketSampler


class BalancedSampler(BucketSampler):
    """A :class:`BucketSampler` that draws N rows per epoch, the same number of each class.

    In an epoch, clips of a small class are drawn several times, and only a random part of a large class is drawn. Two
    clips of one class are drawn equally often, or one of them once more. If N is not divisible by the number of
    classes, random classes get one more row, and these classes change from epoch to epoch.

    The k-th repetition of a row is given as ``2 * N * k + row``, so that augmentation can change it differently; see
    :func:`earmark.batch.dataset.rows_and_labels`.

    Args:
        num_samples: clip lengths, int (N,).
        edges: bucket edges.
        step_size: clips in one optimizer step.
        classes: class of each row, int64 (N,); classes without rows are ignored.
        **settings: other arguments of :class:`BucketSampler`.
    """

    def __init__(
        self, num_samples: np.ndarray, edges: np.ndarray, step_size: int, *, classes: np.ndarray, **settings: Any
    ) -> None:
        super().__init__(num_samples, edges, step_size, **settings)
        self._rows = [np.flatnonzero(classes == one) for one in np.unique(classes)]

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Return the rows of an epoch in random order, int64 (N,)."""
        total = len(self.bucket)
        each, more = divmod(total, len(self._rows))
        counts = np.full(len(self._rows), each)
        counts[rng.permutation(len(self._rows))[:more]] += 1
        drawn = [_drawn(rows, int(count), rng) for rows, count in zip(self._rows, counts, strict=True)]
        return rng.permutation(np.concatenate(drawn))

    def __iter__(self) -> Iterator[int]:
        total = len(self.bucket)
        times = [0] * total
        for index in super().__iter__():
            if index >= total:  # a row that only fills up the last step
                yield index
                continue
            yield index + 2 * total * times[index]
            times[index] += 1


def _drawn(rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw ``count`` rows: all of them equally often, except that some are drawn once more than the others."""
    whole, rest = divmod(count, len(rows))
    return np.concatenate([np.tile(rows, whole), rng.permutation(rows)[:rest]])
