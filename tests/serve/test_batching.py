"""How batches answer requests of threads and of event loops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from earmark.serve.batching import Batcher
from tests.patience import PATIENCE_S, wait_until


class HeldModel:
    """Returns the first sample of each window once it is released."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.release = threading.Event()
        self.fails = False

    def score(self, windows: list[np.ndarray]) -> list[np.ndarray]:
        self.sizes.append(len(windows))
        assert self.release.wait(PATIENCE_S)
        if self.fails:
            raise RuntimeError("broken")
        return [window[:1] for window in windows]


@pytest.fixture
def held() -> HeldModel:
    return HeldModel()


@pytest.fixture
def batcher(held: HeldModel) -> Iterator[Batcher]:
    made = Batcher(held.score, batch_size=8, delay_s=0.0, observe=lambda *numbers: None)
    yield made
    held.release.set()
    made.stop()


def numbered(first: int, count: int) -> list[np.ndarray]:
    return [np.full(10, value, np.float32) for value in range(first, first + count)]


def test_a_batch_wakes_an_event_loop_once(held: HeldModel, batcher: Batcher, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask() -> tuple[list[list[float]], int]:
        loop = asyncio.get_running_loop()
        wakes: list[Any] = []
        really = loop.call_soon_threadsafe
        monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *call: (wakes.append(call), really(*call)))
        batcher.submit(numbered(0, 1))  # the model is busy with this one while the others arrive
        await asyncio.to_thread(wait_until, lambda: held.sizes == [1])
        futures = [loop.create_future() for _ in range(4)]
        for first, future in enumerate(futures):
            batcher.submit_for(future, numbered(10 * first, 2))
        wakes.clear()
        held.release.set()
        rows = await asyncio.wait_for(asyncio.gather(*futures), PATIENCE_S)
        return [row.ravel().tolist() for row in rows], len(wakes)

    rows, num_wakes = asyncio.run(ask())
    assert rows == [[0, 1], [10, 11], [20, 21], [30, 31]]
    assert held.sizes == [1, 8]
    assert num_wakes == 1


def test_windows_of_a_cancelled_request_are_not_scored(held: HeldModel, batcher: Batcher) -> None:
    async def ask() -> list[float]:
        batcher.submit(numbered(0, 1))
        await asyncio.to_thread(wait_until, lambda: held.sizes == [1])
        cancelled, wanted = (asyncio.get_running_loop().create_future() for _ in range(2))
        batcher.submit_for(cancelled, numbered(1, 3))
        batcher.submit_for(wanted, numbered(4, 2))
        cancelled.cancel()
        held.release.set()
        return (await asyncio.wait_for(wanted, PATIENCE_S)).ravel().tolist()

    assert asyncio.run(ask()) == [4, 5]
    assert held.sizes == [1, 2]


def test_a_failed_batch_fails_its_requests_and_no_others(held: HeldModel, batcher: Batcher) -> None:
    held.fails = True
    held.release.set()

    async def ask() -> None:
        failed = asyncio.get_running_loop().create_future()
        batcher.submit_for(failed, numbered(0, 12))  # more than a batch: the rest is not scored
        with pytest.raises(RuntimeError, match="broken"):
            await asyncio.wait_for(failed, PATIENCE_S)

    asyncio.run(ask())
    wait_until(lambda: batcher.num_waiting == 0)
    held.fails = False
    assert batcher.submit(numbered(3, 1)).result(PATIENCE_S).tolist() == [[3.0]]
    assert held.sizes == [8, 1]


def test_a_result_for_a_closed_event_loop_is_dropped(held: HeldModel, batcher: Batcher) -> None:
    loop = asyncio.new_event_loop()
    batcher.submit_for(loop.create_future(), numbered(0, 1))
    loop.close()
    held.release.set()
    assert batcher.submit(numbered(3, 1)).result(PATIENCE_S).tolist() == [[3.0]]
    assert batcher.is_alive
