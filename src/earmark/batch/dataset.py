"""Read training batches from stored clips; clips that are too long for the model are cropped at random positions.

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
    """Labelled clips, read one batch at a time.

    Args:
        waveforms: samples of N clips.
        labels: class indices, int64 (N,); or several labels per clip as 0 and 1, float32 (N, C); or numbers,
            float32 (N,).
        min_samples: shorter clips are padded with zeros to this length, and the model sees the zeros as audio.
        max_samples: longer clips are cropped to this length, at a random position that changes each epoch.
        seed: seed of these positions. They depend only on the seed, the epoch and the row, so a resumed run
            crops the same parts.

    Attributes:
        edges: lengths that a batch can have, int64 (K,); ``None``: a batch is as long as its longest clip.
        lengths: samples of each clip in a batch, int64 (N,); the maximum if lengths change between epochs.
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
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # shared with persistent workers
        self._places: tuple[int, np.ndarray] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which determines the crops."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def crops(self) -> bool:
        """Whether any clip is too long for the model, so that crops differ between epochs."""
        return bool((self.waveforms.num_samples > self.max_samples).any())

    def __getitems__(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        """Return one batch on the CPU.

        Returns:
            ``samples`` (B, W) in the type of the store, ``scales`` float32 (B,), the factors to float samples,
            ``labels`` (B,) or (B, C), ``rows`` of the table, int64 (B,), and ``num_samples`` int64 (B,) if clips are
            shorter than W.
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
        """Return the width of a batch of clips with ``lengths`` (B,): the longest, or the edge of its bucket."""
        longest = int(lengths.max())
        return longest if self.edges is None else int(self.edges[np.searchsorted(self.edges, longest)])

    def starts(self, rows: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Return where the crops of this epoch begin, int64 (B,), if ``counts`` (B,) samples are taken."""
        spare = self.waveforms.num_samples[rows] - counts
        if not spare.any():
            return np.zeros(len(rows), dtype=np.int64)
        epoch = int(self._epoch)
        if self._places is None or self._places[0] != epoch:
            self._places = epoch, np.random.default_rng((self.seed, epoch)).random(len(self.labels))
        return (self._places[1][rows] * (spare + 1)).astype(np.int64)


def rows_and_labels(indices: Sequence[int], labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of a batch and their labels.

    Args:
        indices: B numbers that stand for rows of the N clips: ``row`` itself, ``N + row`` for a row that is repeated
            only to fill the batch, and ``2 * N * k + row`` for the k-th repetition of a row in this epoch.
        labels: labels of all rows, (N,) or (N, C); see :class:`TrainingClips`.

    Returns:
        ``(rows, labels)``, int64 (B,), and (B,) or (B, C). Rows that only fill the batch have the label -100, which
        losses ignore.
    """
    rows = np.asarray(indices, dtype=np.int64)
    fills_up = rows // len(labels) % 2 == 1
    rows = rows % len(labels)
    taken = labels[rows]
    taken[fills_up] = NO_LABEL
    return rows, taken


def one_batch(batch: object) -> object:
    """Return the result of :meth:`TrainingClips.__getitems__` unchanged: it is already a batch."""
    return batch
