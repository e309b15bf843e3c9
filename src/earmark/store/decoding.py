"""Clips decoded each time they are asked for: what a :class:`WaveformStore` does without its file.

For recordings that do not fit on the disk a second time, and for looking at each clip once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from earmark.audio.reading import read_in_order
from earmark.clips.clip import ClipTable
from earmark.errors import AudioError
from earmark.text import counted


class DecodedWaveforms:
    """Reads a table of N clips from their recordings.

    Attributes:
        num_samples: length of each clip at the rate wanted, int64 (N,).
        scales: factor from the numbers of :meth:`read_batch` to samples, float32 (N,): all 1.
    """

    def __init__(
        self, table: ClipTable, num_samples: np.ndarray, sampling_rate_hz: int, *, num_threads: int = 2
    ) -> None:
        self.table = table
        self.num_samples = num_samples
        self.scales = np.ones(len(table), dtype=np.float32)
        self.sampling_rate_hz = sampling_rate_hz
        self.num_threads = num_threads

    def read_batch(
        self, indices: Sequence[int] | np.ndarray, starts: np.ndarray, counts: np.ndarray, width: int
    ) -> np.ndarray:
        """Stretches of B clips, float32 (B, width), zero behind each.

        Args:
            indices: rows of the table, (B,).
            starts: first sample of each, (B,).
            counts: samples of each, (B,), at most ``width``.
            width: samples of the batch.

        Raises:
            AudioError: a clip cannot be read, or is not as long as it was.
        """
        batch = np.zeros((len(indices), width), dtype=np.float32)
        for row, samples, index, start, count in zip(
            batch, self.iterate(indices), indices, starts, counts, strict=True
        ):
            if len(samples) != self.num_samples[index]:
                raise AudioError(
                    self.table[int(index)].source,
                    f"{counted(len(samples), 'sample')} now, {self.num_samples[index]:,} when it was first read: has "
                    "it changed?",
                )
            row[:count] = samples[start : start + count]
        return batch

    def iterate(self, indices: Sequence[int] | np.ndarray) -> Iterator[np.ndarray]:
        """Whole clips in the order of ``indices``, float32 (T_i,).

        Raises:
            AudioError: a clip cannot be read.
        """
        clips = (self.table[int(i)] for i in indices)
        for _, result in read_in_order(clips, self.sampling_rate_hz, num_threads=self.num_threads):
            if isinstance(result, AudioError):
                raise result
            yield result
