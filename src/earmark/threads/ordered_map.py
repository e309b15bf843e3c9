"""Call a function for many items in threads, without delaying Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], num_threads: int, name: str
) -> Iterator[Result]:
    """Yield the result of ``work`` for each item, in order.

    Args:
        work: function that the threads call.
        items: its arguments.
        num_threads: number of threads, at least 1 is used.
        name: name of the threads.
    """
    with ThreadPoolExecutor(max(1, num_threads), thread_name_prefix=name) as pool:
        yield from pool.map(work, items)  # its end cancels the remaining items, so Ctrl-C does not wait for them
