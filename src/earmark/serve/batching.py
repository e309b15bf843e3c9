"""Batches of windows from many requests: one thread owns the model and scores waiting windows of similar length.

Shapes: C classes.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

logger = logging.getLogger(__name__)

Score = Callable[[list[np.ndarray]], Iterable[np.ndarray]]


@dataclass(eq=False)
class _Job:
    """One request: its windows and the results so far."""

    rows: list[np.ndarray | None]
    future: Future[np.ndarray] | asyncio.Future[np.ndarray]
    missing: int


@dataclass(frozen=True, eq=False)
class _Waiting:
    job: _Job
    index: int
    window: np.ndarray
    since_s: float


class Batcher:
    """Batcher that collects windows for a short time and scores them together.

    Args:
        score: returns logits (C,) of windows, in order. Called from one thread only.
        batch_size: maximum number of windows per batch.
        delay_s: how long the first window of a batch waits for others.
        observe: called with the number of windows of each batch and the seconds it took.
    """

    def __init__(self, score: Score, *, batch_size: int, delay_s: float, observe: Callable[[int, float], None]) -> None:
        self._score = score
        self._batch_size = batch_size
        self._delay_s = delay_s
        self._observe = observe
        self._waiting: list[_Waiting] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread is still running."""
        return self._thread.is_alive()

    @property
    def num_waiting(self) -> int:
        """Number of windows that are not in a batch yet."""
        return len(self._waiting)

    def submit(self, windows: Sequence[np.ndarray]) -> Future[np.ndarray]:
        """Return a future for the logits float32 (windows, C) of one request. Cancel it to skip waiting windows."""
        future: Future[np.ndarray] = Future()
        self.submit_for(future, windows)
        return future

    def submit_for(
        self, future: Future[np.ndarray] | asyncio.Future[np.ndarray], windows: Sequence[np.ndarray]
    ) -> None:
        """Score windows for ``future``; see :meth:`submit`. Any thread may pass a future of an event loop.

        A batch wakes each event loop once, however many requests it answers.
        """
        assert windows, "a recording has at least one window"
        job = _Job([None] * len(windows), future, len(windows))
        now_s = time.monotonic()
        with self._changed:
            self._waiting += [_Waiting(job, i, window, now_s) for i, window in enumerate(windows)]
            self._changed.notify()

    def stop(self) -> None:
        """Score the waiting windows and end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            if batch:
                self._answer(batch)

    def _next_batch(self) -> list[_Waiting] | None:
        """Wait for windows, and a short time for more of them. Return ``None`` if the batcher was stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            if not self._waiting:
                return None
            left_s = self._waiting[0].since_s + self._delay_s - time.monotonic()
            if left_s > 0:
                self._changed.wait_for(lambda: len(self._waiting) >= self._batch_size or self._stopping, left_s)
            return self._take()

    def _take(self) -> list[_Waiting]:
        """Return the oldest window and those closest to it in length, to keep padding small."""
        self._waiting = [entry for entry in self._waiting if not entry.job.future.cancelled()]
        if not self._waiting:
            return []
        length = len(self._waiting[0].window)
        order = sorted(range(len(self._waiting)), key=lambda i: abs(len(self._waiting[i].window) - length))
        taken = set(order[: self._batch_size])  # the sort is stable, so the oldest is included
        batch = [entry for i, entry in enumerate(self._waiting) if i in taken]
        self._waiting = [entry for i, entry in enumerate(self._waiting) if i not in taken]
        return batch

    def _answer(self, batch: Sequence[_Waiting]) -> None:
        started_s = time.monotonic()
        try:
            rows = list(self._score([entry.window for entry in batch]))
        except Exception as exc:  # pass any error to the requests, and keep the thread running
            logger.exception("a batch of %d windows failed", len(batch))
            failed = {entry.job for entry in batch}
            settle([(job.future, exc) for job in failed])
            with self._changed:
                self._waiting = [entry for entry in self._waiting if entry.job not in failed]
            return
        self._observe(len(batch), time.monotonic() - started_s)
        finished = []
        for entry, row in zip(batch, rows, strict=True):
            job = entry.job
            job.rows[entry.index] = row
            job.missing -= 1
            if not job.missing:
                finished.append(job)
        settle([(job.future, np.stack([row for row in job.rows if row is not None])) for job in finished])


def settle(outcomes: Iterable[tuple[Future[np.ndarray] | asyncio.Future[np.ndarray], np.ndarray | Exception]]) -> None:
    """Set results or errors of requests, except of those that were cancelled. Any thread may call this."""
    in_loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[np.ndarray], np.ndarray | Exception]]] = {}
    for future, outcome in outcomes:
        if isinstance(future, asyncio.Future):
            in_loops.setdefault(future.get_loop(), []).append((future, outcome))
        elif future.set_running_or_notify_cancel():
            _set(future, outcome)
    for loop, pairs in in_loops.items():
        with suppress(RuntimeError):  # the loop is closed, so nobody waits
            loop.call_soon_threadsafe(_settle_in_loop, pairs)


def _settle_in_loop(outcomes: Iterable[tuple[asyncio.Future[np.ndarray], np.ndarray | Exception]]) -> None:
    for future, outcome in outcomes:
        if not future.done():
            _set(future, outcome)


def _set(future: Future[np.ndarray] | asyncio.Future[np.ndarray], outcome: np.ndarray | Exception) -> None:
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
