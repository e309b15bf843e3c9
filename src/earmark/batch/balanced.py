"""An epoch in which each class is heard equally often, whatever its clips."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from earmark.batch.buckets import BucketSampler


class BalancedSampler(BucketSampler):
    """A :class:`BucketSampler` that draws as many rows as there are, the same number of each class.

    A class with few clips gives them several times an epoch, one with many gives some of them; over epochs all of them
    come up, and within an epoch no clip comes once more before the others of its class have come as often. Where the
    classes do not divide the rows, the ones that give a row more are drawn again each epoch.

    A row that comes again in an epoch is given as ``2 * N * k + row``, so that augmentation can change it another way;
    see :func:`earmark.batch.dataset.rows_and_labels`.

    Args:
        num_samples: clip lengths, int (N,).
        edges: bucket edges.
        step_size: clips in one optimizer step.
        classes: class of each row, int64 (N,); classes without rows are left out.
        **settings: of :class:`BucketSampler`.
    """

    def __init__(
        self, num_samples: np.ndarray, edges: np.ndarray, step_size: int, *, classes: np.ndarray, **settings: Any
    ) -> None:
        super().__init__(num_samples, edges, step_size, **settings)
        self._rows = [np.flatnonzero(classes == one) for one in np.unique(classes)]

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """The rows of an epoch in random order, int64 (N,)."""
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
            if index >= total:  # fills up
                yield index
                continue
            yield index + 2 * total * times[index]
            times[index] += 1


def _drawn(rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` of the rows, each as often as any other or once more."""
    whole, rest = divmod(count, len(rows))
    return np.concatenate([np.tile(rows, whole), rng.permutation(rows)[:rest]])
