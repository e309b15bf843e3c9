from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from earmark.threads.ordered_map import map_in_threads


def test_results_come_in_the_order_of_the_items() -> None:
    begun = threading.Barrier(3)

    def work(item: int) -> tuple[int, str]:
        begun.wait(timeout=60)  # three threads
        return item, threading.current_thread().name

    results = list(map_in_threads(work, range(9), 3, "listen"))
    assert [item for item, _ in results] == list(range(9))
    assert all(name.startswith("listen") for _, name in results)
    assert list(map_in_threads(str, [1], 0, "one")) == ["1"]


def test_an_interrupt_cancels_what_no_thread_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    is_cancelled = threading.Event()
    shutdown = ThreadPoolExecutor.shutdown

    def shut_down(pool: ThreadPoolExecutor, wait: bool, **how: Any) -> None:
        shutdown(pool, wait=False, **how)
        is_cancelled.set()
        shutdown(pool)

    def work(item: int) -> int:
        begun.append(item)
        if item:
            is_cancelled.wait(timeout=60)
        return item

    def use_first() -> None:
        for _ in map_in_threads(work, range(1000), 1, "listen"):
            raise KeyboardInterrupt

    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", shut_down)
    with pytest.raises(KeyboardInterrupt):
        use_first()
    assert begun in ([0], [0, 1])
