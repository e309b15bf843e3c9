"""Training batches: stretches of stored clips, of random place where a clip is longer than the model takes.

Shapes: B batch, W samples of the longest clip or of the bucket.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from earmark.audio.reading import Waveforms
from earmark.tasks.task import NO_LABEL


class TrainingClips(Dataset[dict[str, torch.Tensor]]):
    """Labelled clips, a batch at a time.

    Args:
        waveforms: samples of N clips.
        labels: index of each clip's class, int64 (N,); which labels are there, float32 (N, C); numbers, float32 (N,).
        min_samples: shorter clips are padded with zeros to this length, and the model sees the zeros as audio.
        max_samples: longer clips are cropped to this length, at a random position that changes each epoch.
        seed: seed of these positions. They depend only on the seed, the epoch and the row, so a resumed run
            crops the same parts.

    Attributes:
        edges: lengths that a batch can have, int64 (K,); ``None``: a batch is as long as its longest clip.
        lengths: samples of each clip in a batch, int64 (N,); the most, where they differ from epoch to epoch.
    """

    def __init__(
        self, waveforms: Waveforms, labels: np.ndarray, *, min_samples: int, max_samples: int, seed: int = 0
    ) -> None:
        self.waveforms = waveforms
        self.labels = labels
        self.min_samples = min_samples
        self.max_samples = max_samples
        self.counts = np.minimum(waveforms.num_samples, max_samples)  # samples read of each clip
        self.lengths = np.maximum(self.counts, min_samples)
        self.edges: np.ndarray | None = None
        self.seed = seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # workers that live on see it change
        self._places: tuple[int, np.ndarray] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Choose the stretches of this epoch."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def crops(self) -> bool:
        """Whether any clip is longer than the model takes, so that two epochs see different samples."""
        return bool((self.waveforms.num_samples > self.max_samples).any())

    def __getitems__(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        """One batch, on the CPU.

        Returns:
            ``samples`` (B, W) in the type they are stored in, ``scales`` float32 (B,), the factor to float samples,
            ``labels`` (B,) or (B, C), ``rows`` (of the table) int64 (B,), and, where clips are shorter than W,
            ``num_samples`` int64 (B,).
        """
        rows, labels = rows_and_labels(indices, self.labels)
        lengths = self.lengths[rows]
        width = self.batch_width(lengths)
        counts = self.counts[rows]
        samples = self.waveforms.read_batch(rows, self.starts(rows, counts), counts, width)
        batch = {
            "samples": torch.from_numpy(samples),
            "scales": torch.from_numpy(self.waveforms.scales[rows]),
            "labels": torch.from_numpy(labels),
            "rows": torch.from_numpy(rows),
        }
        if (lengths < width).any():
            batch["num_samples"] = torch.from_numpy(lengths)
        return batch

    def batch_width(self, lengths: np.ndarray) -> int:
        """Samples of a batch of clips of these ``lengths`` (B,): the longest, or the edge of its bucket."""
        longest = int(lengths.max())
        return longest if self.edges is None else int(self.edges[np.searchsorted(self.edges, longest)])

    def starts(self, rows: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Where the stretches of this epoch begin, int64 (B,), if ``counts`` (B,) samples are taken."""
        spare = self.waveforms.num_samples[rows] - counts
        if not spare.any():
            return np.zeros(len(rows), dtype=np.int64)
        epoch = int(self._epoch)
        if self._places is None or self._places[0] != epoch:
            self._places = epoch, np.random.default_rng((self.seed, epoch)).random(len(self.labels))
        return (self._places[1][rows] * (spare + 1)).astype(np.int64)


def rows_and_labels(indices: Sequence[int], labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which rows a batch takes, and their labels.

    Args:
        indices: rows, of N. ``N + row`` stands for a row that was there before and only fills the batch up, and
            ``2 * N * k + row`` for a row that comes for the k-th time more in this epoch.
        labels: of each row, (N,) or (N, C); see :class:`TrainingClips`.

    Returns:
        ``(rows, labels)``, int64 (B,), and (B,) or (B, C); labels of what fills up are -100, which no loss counts.
    """
    rows = np.asarray(indices, dtype=np.int64)
    fills_up = rows // len(labels) % 2 == 1
    rows = rows % len(labels)
    taken = labels[rows]
    taken[fills_up] = NO_LABEL
    return rows, taken


def one_batch(batch: object) -> object:
    """What a data loader calls on what :meth:`TrainingClips.__getitems__` gave: it is a batch already."""
    return batch
