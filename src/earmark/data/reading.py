"""Where samples come from: what reads a table of clips, and decoding ahead of use, in order.

Decoding happens in threads: soundfile and soxr let go of the interpreter lock.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Protocol

import numpy as np

from earmark.data.clips import Clip
from earmark.data.decode import read_clip
from earmark.errors import AudioError

_AHEAD_PER_THREAD = 16
_MOST_THREADS = 8  # more than the model can use on any machine seen so far


class Waveforms(Protocol):
    """The samples of a table of N clips: stored (:mod:`earmark.data.waveforms`), or decoded each time.

    Attributes:
        num_samples: length of each clip, int64 (N,).
        scales: factor from the numbers of :meth:`read_batch` to samples in [-1, 1], float32 (N,).
    """

    num_samples: np.ndarray
    scales: np.ndarray

    def read_batch(
        self, indices: Sequence[int] | np.ndarray, starts: np.ndarray, counts: np.ndarray, width: int
    ) -> np.ndarray:
        """Stretches of B clips (B, width): ``counts`` samples from ``starts`` on, and zeros behind them."""

    def iterate(self, indices: Sequence[int] | np.ndarray) -> Iterator[np.ndarray]:
        """Whole clips, float32 (T_i,), in the order of ``indices``."""


def decoder_threads(asked: int | None) -> int:
    """As many threads as asked for, else one for each core that this process may use, at most 8."""
    if asked is not None:
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST_THREADS)


def read_in_order(
    clips: Iterable[Clip], sampling_rate_hz: int, *, num_threads: int = 2
) -> Iterator[tuple[Clip, np.ndarray | AudioError]]:
    """Yield each clip with its samples, or with the reason it has none.

    Args:
        clips: what to read; taken lazily, so millions of files never stand in a queue.
        sampling_rate_hz: rate wanted.
        num_threads: decoder threads.

    Yields:
        ``(clip, samples)`` with float32 samples ``(T,)``, or ``(clip, error)``; in the order of ``clips``.
    """
    source = iter(clips)
    with ThreadPoolExecutor(num_threads, thread_name_prefix="decode") as pool:

        def submit(clip: Clip) -> tuple[Clip, Future[np.ndarray | AudioError]]:
            return clip, pool.submit(_read_or_error, clip, sampling_rate_hz)

        ahead = deque(submit(clip) for clip in islice(source, num_threads * _AHEAD_PER_THREAD))
        try:
            while ahead:
                clip, future = ahead.popleft()
                result = future.result()
                ahead.extend(submit(following) for following in islice(source, 1))
                yield clip, result
        finally:
            for _, future in ahead:
                future.cancel()


def _read_or_error(clip: Clip, sampling_rate_hz: int) -> np.ndarray | AudioError:
    try:
        return read_clip(clip, sampling_rate_hz)
    except AudioError as exc:
        return exc
