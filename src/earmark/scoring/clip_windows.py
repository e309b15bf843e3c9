"""The windows of all clips of a table, to fit a temperature or thresholds on the logits of windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from earmark.audio.reading import Waveforms
from earmark.scoring.windows import Windowing


class WindowsOfClips:
    """The windows of all clips of a table; the inference loop scores each window like a clip.

    Attributes:
        num_samples: length of each window, int64 (K,).
        scales: factor from stored numbers to samples, float32 (K,).
        sampling_rate_hz: sampling rate of the clips.
        starts: the first window of each clip, int64 (N,).
    """

    def __init__(self, waveforms: Waveforms, max_samples: int) -> None:
        self._waveforms = waveforms
        self.sampling_rate_hz = waveforms.sampling_rate_hz
        self._windowing = Windowing(max_samples, max_samples)
        counts = np.maximum(1, -(-waveforms.num_samples // max_samples))
        self.starts = np.cumsum(counts) - counts
        self._clip = np.repeat(np.arange(len(counts)), counts)
        self.num_samples = np.minimum(waveforms.num_samples, max_samples)[self._clip]
        self.scales = waveforms.scales[self._clip]

    def read_batch(
        self, indices: Sequence[int] | np.ndarray, starts: np.ndarray, counts: np.ndarray, width: int
    ) -> np.ndarray:
        """Raise NotImplementedError, because the loop only reads whole windows."""
        raise NotImplementedError("parts of windows")

    def iterate(self, indices: Sequence[int] | np.ndarray) -> Iterator[np.ndarray]:
        """Yield windows, float32 (T_i,), in the order of ``indices``. Neighbouring windows of a clip share one read."""
        of_clips = [(clip, list(windows)) for clip, windows in groupby(map(int, indices), lambda i: self._clip[i])]
        clips = self._waveforms.iterate(np.array([clip for clip, _ in of_clips], dtype=np.int64))
        for (clip, windows), samples in zip(of_clips, clips, strict=True):
            cut = [window for _, window in self._windowing.cut([samples])]
            for i in windows:
                yield cut[i - self.starts[clip]]
