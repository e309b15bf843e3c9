"""Sources of samples: the interface of a table of waveforms, and threads that decode ahead, in order.

Threads work well because soundfile and soxr release the GIL.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from queue import Full, Queue
from typing import Protocol, TypeVar

import numpy as np

from earmark.audio.decode import read_clip, stream_clip
from earmark.audio.incomplete import log_notes
from earmark.clips.clip import Clip
from earmark.errors import AudioError
from earmark.threads.cores import this_process

_AHEAD_PER_THREAD = 16
_HEAD_SAMPLES = 1 << 18  # decoded ahead from each recording: its start, or all of a short recording
_BLOCKS_AHEAD = 4  # decoded ahead from the current recording
_MOST_THREADS = 8  # no model on any machine tested needs more


class Waveforms(Protocol):
    """The samples of a table of N clips, stored (:mod:`earmark.store.waveforms`) or decoded each time.

    Attributes:
        num_samples: length of each clip, int64 (N,).
        scales: factor from the values of :meth:`read_batch` to samples in [-1, 1], float32 (N,).
        sampling_rate_hz: rate of the samples.
    """

    sampling_rate_hz: int
    num_samples: np.ndarray
    scales: np.ndarray

    def read_batch(
        self, indices: Sequence[int] | np.ndarray, starts: np.ndarray, counts: np.ndarray, width: int
    ) -> np.ndarray:
        """Return parts of B clips (B, width): ``counts`` samples from ``starts``, padded with zeros."""

    def iterate(self, indices: Sequence[int] | np.ndarray) -> Iterator[np.ndarray]:
        """Yield whole clips, float32 (T_i,), in the order of ``indices``."""


def decoder_threads(asked: int | None) -> int:
    """Return ``asked``, or by default one thread per logical CPU that this process may use, at most 8."""
    return asked if asked is not None else min(this_process().cpus, _MOST_THREADS)


def read_in_order(
    clips: Iterable[Clip], sampling_rate_hz: int, *, num_threads: int = 2
) -> Iterator[tuple[Clip, np.ndarray | AudioError]]:
    """Yield each clip with its samples or the error that prevents them.

    Args:
        clips: clips to read. They are consumed lazily, so there may be millions.
        sampling_rate_hz: rate of the returned samples.
        num_threads: number of decoder threads.

    Yields:
        ``(clip, samples)`` with float32 samples ``(T,)``, or ``(clip, error)``, in the order of ``clips``.
    """
    return _in_order(clips, lambda clip: _read_or_error(clip, sampling_rate_hz), num_threads)


def stream_in_order(
    clips: Iterable[Clip], sampling_rate_hz: int, *, num_threads: int = 2
) -> Iterator[tuple[Clip, Iterator[np.ndarray]]]:
    """Yield each recording with its samples, block by block. Memory does not grow with its length.

    Args:
        clips: clips to read, consumed lazily.
        sampling_rate_hz: rate of the returned samples.
        num_threads: number of decoder threads.

    Yields:
        ``(clip, blocks)`` in the order of ``clips``. The blocks, float32 ``(samples,)``, raise :class:`AudioError`
            where the recording is damaged. Consume the blocks of one clip before you ask for the next.
    """
    for clip, (head, rest) in _in_order(clips, lambda clip: _start(clip, sampling_rate_hz), num_threads):
        yield clip, chain(head, _read_ahead(rest))


Result = TypeVar("Result")


def _in_order(clips: Iterable[Clip], work: Callable[[Clip], Result], num_threads: int) -> Iterator[tuple[Clip, Result]]:
    """Yield each clip with the result of ``work``, which runs in threads."""
    source = iter(clips)
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="decode")

    def submit(clip: Clip) -> tuple[Clip, Future[Result]]:
        return clip, pool.submit(work, clip)

    try:
        ahead = deque(submit(clip) for clip in islice(source, num_threads * _AHEAD_PER_THREAD))
        while ahead:
            clip, future = ahead.popleft()
            result = future.result()
            ahead.extend(submit(following) for following in islice(source, 1))
            yield clip, result
    finally:
        # Do not wait for the pool. The garbage collector may close an abandoned iterator while the current thread is
        # starting a new thread; joining the pool would then wait for a lock that the current thread holds.
        pool.shutdown(wait=False, cancel_futures=True)
        log_notes()


def _start(clip: Clip, sampling_rate_hz: int) -> tuple[list[np.ndarray], Iterator[np.ndarray]]:
    """Return the first blocks of a recording, and an iterator over the rest. The iterator raises errors."""
    blocks = stream_clip(clip, sampling_rate_hz)
    head: list[np.ndarray] = []
    try:
        while sum(len(block) for block in head) < _HEAD_SAMPLES:
            head.append(next(blocks))
    except StopIteration:
        pass
    except AudioError as exc:
        return head, _fail(exc)
    return head, blocks


def _fail(error: AudioError) -> Iterator[np.ndarray]:
    raise error
    yield  # makes this a generator, which raises on iteration


def _read_ahead(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the same blocks, read ahead by a thread."""
    queue: Queue[np.ndarray | BaseException | None] = Queue(_BLOCKS_AHEAD)
    left = threading.Event()

    def put(item: np.ndarray | BaseException | None) -> None:
        while not left.is_set():
            try:
                queue.put(item, timeout=0.1)
            except Full:
                continue
            return

    def read() -> None:
        try:
            for block in blocks:
                put(block)
                if left.is_set():
                    return
        except BaseException as exc:  # raised again in the consuming thread
            put(exc)
        else:
            put(None)

    reader = threading.Thread(target=read, name="read-ahead", daemon=True)
    reader.start()
    try:
        while (item := queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        left.set()  # not joined, see _in_order


def _read_or_error(clip: Clip, sampling_rate_hz: int) -> np.ndarray | AudioError:
    try:
        return read_clip(clip, sampling_rate_hz)
    except AudioError as exc:
        return exc
