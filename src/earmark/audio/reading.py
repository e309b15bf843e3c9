"""Where samples come from: what reads a table of clips, and decoding ahead of use, in order.

Decoding happens in threads: soundfile and soxr release the GIL.
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
_HEAD_SAMPLES = 1 << 18  # of a recording that is read ahead of its turn: short ones whole, of long ones the start
_BLOCKS_AHEAD = 4  # of the recording whose turn it is
_MOST_THREADS = 8  # more than the model can use on any machine seen so far


class Waveforms(Protocol):
    """The samples of a table of N clips: stored (:mod:`earmark.store.waveforms`), or decoded each time.

    Attributes:
        num_samples: length of each clip, int64 (N,).
        scales: factor from the numbers of :meth:`read_batch` to samples in [-1, 1], float32 (N,).
        sampling_rate_hz: rate of the samples.
    """

    sampling_rate_hz: int
    num_samples: np.ndarray
    scales: np.ndarray

    def read_batch(
        self, indices: Sequence[int] | np.ndarray, starts: np.ndarray, counts: np.ndarray, width: int
    ) -> np.ndarray:
        """Stretches of B clips (B, width): ``counts`` samples from ``starts`` on, and zeros behind them."""

    def iterate(self, indices: Sequence[int] | np.ndarray) -> Iterator[np.ndarray]:
        """Whole clips, float32 (T_i,), in the order of ``indices``."""


def decoder_threads(asked: int | None) -> int:
    """Return ``asked``, or one thread for each logical CPU that this process may use, at most 8."""
    return asked if asked is not None else min(this_process().cpus, _MOST_THREADS)


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
    return _in_order(clips, lambda clip: _read_or_error(clip, sampling_rate_hz), num_threads)


def stream_in_order(
    clips: Iterable[Clip], sampling_rate_hz: int, *, num_threads: int = 2
) -> Iterator[tuple[Clip, Iterator[np.ndarray]]]:
    """Yield each recording with its samples, block by block, in memory that does not grow with its length.

    Args:
        clips: what to read; taken lazily.
        sampling_rate_hz: rate wanted.
        num_threads: decoder threads.

    Yields:
        ``(clip, blocks)`` with float32 blocks ``(samples,)``, which raise :class:`AudioError` where the recording turns
        out to be broken; in the order of ``clips``. Take the blocks of one before you ask for the next.
    """
    for clip, (head, rest) in _in_order(clips, lambda clip: _start(clip, sampling_rate_hz), num_threads):
        yield clip, chain(head, _read_ahead(rest))


Result = TypeVar("Result")


def _in_order(clips: Iterable[Clip], work: Callable[[Clip], Result], num_threads: int) -> Iterator[tuple[Clip, Result]]:
    """Yield each clip with what ``work`` made of it in one of the threads."""
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
        # Not waiting: the garbage collector may close an abandoned iterator while its thread starts another one, and
        # joining a thread would then wait for a lock that the same thread holds.
        pool.shutdown(wait=False, cancel_futures=True)
        log_notes()


def _start(clip: Clip, sampling_rate_hz: int) -> tuple[list[np.ndarray], Iterator[np.ndarray]]:
    """Return the first blocks of a recording, and the iterator of the others; an error comes when it is asked for these."""
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
    yield  # makes this a generator, which raises when it is its turn


def _read_ahead(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the same blocks, read by a thread while the last one is worked on."""
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
        except BaseException as exc:  # raised again in the thread that takes the blocks
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
