"""Waveforms decoded on each access, with the interface of :class:`WaveformStore` but without a file.

For recordings whose samples do not fit on the disk, and for reading each clip only once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from earmark.audio.reading import read_in_order
from earmark.clips.clip import ClipTable
from earmark.errors import AudioError
from earmark.text import counted


class DecodedWaveforms:
    """Waveforms of a table of N clips, decoded from the recordings.

    Attributes:
        num_samples: length of each clip at the sampling rate, int64 (N,).
        scales: factor from the values of :meth:`read_batch` to samples, float32 (N,): all 1.
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
        """Return parts of B clips, float32 (B, width), padded with zeros.

        Args:
            indices: rows of the table, (B,).
            starts: first sample of each part, (B,).
            counts: number of samples of each part, (B,), at most ``width``.
            width: samples per row of the result.

        Raises:
            AudioError: a clip cannot be read, or its length has changed.
        """
        batch = np.zeros((len(indices), width), dtype=np.float32)
        for row, samples, index, start, count in zip(
            batch, self.iterate(indices), indices, starts, counts, strict=True
        ):
            if len(samples) != self.num_samples[index]:
                raise AudioError(
                    self.table[int(index)].source,
                    f"has {counted(len(samples), 'sample')}, but had {self.num_samples[index]:,} when first read. "
                    "Do not change recordings during a run",
                )
            row[:count] = samples[start : start + count]
        return batch

    def iterate(self, indices: Sequence[int] | np.ndarray) -> Iterator[np.ndarray]:
        """Yield whole clips, float32 (T_i,), in the order of ``indices``.

        Raises:
            AudioError: a clip cannot be read.
        """
        clips = (self.table[int(i)] for i in indices)
        for _, result in read_in_order(clips, self.sampling_rate_hz, num_threads=self.num_threads):
            if isinstance(result, AudioError):
                raise result
            yield result
