"""Decode many clips ahead of their use, in threads (soundfile and soxr let go of the interpreter lock), in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np

from earmark.data.clips import Clip
from earmark.data.decode import read_clip
from earmark.errors import AudioError

_AHEAD_PER_THREAD = 16
_MOST_THREADS = 8  # more than the model can use on any machine seen so far


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
