"""Decode many clips ahead of their use, in threads (soundfile and soxr let go of the interpreter lock), in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np

from earmark.data.clips import Clip
from earmark.data.decode import read_clip
from earmark.errors import AudioError

_AHEAD_PER_THREAD = 16


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
