"""Batches of windows from many requests: one thread owns the model and scores waiting windows of similar length.

Shapes: C classes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

logger = logging.getLogger(__name__)

Score = Callable[[list[np.ndarray]], Iterable[np.ndarray]]


@dataclass(eq=False)
class _Job:
    """One request: its windows and the results so far."""

    rows: list[np.ndarray | None]
    future: Future[np.ndarray] = field(default_factory=Future)
    missing: int = 0


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
        assert windows, "a recording has at least one window"
        job = _Job(rows=[None] * len(windows), missing=len(windows))
        now_s = time.monotonic()
        with self._changed:
            self._waiting += [_Waiting(job, i, window, now_s) for i, window in enumerate(windows)]
            self._changed.notify()
        return job.future

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
            for job in {entry.job for entry in batch}:
                _settle(job, exc)
            with self._changed:
                self._waiting = [entry for entry in self._waiting if not entry.job.future.done()]
            return
        self._observe(len(batch), time.monotonic() - started_s)
        for entry, row in zip(batch, rows, strict=True):
            job = entry.job
            job.rows[entry.index] = row
            job.missing -= 1
            if not job.missing:
                _settle(job, np.stack([answer for answer in job.rows if answer is not None]))


def _settle(job: _Job, outcome: np.ndarray | Exception) -> None:
    """Set the result of a request, unless it was cancelled."""
    if not job.future.set_running_or_notify_cancel():
        return
    if isinstance(outcome, Exception):
        job.future.set_exception(outcome)
    else:
        job.future.set_result(outcome)
