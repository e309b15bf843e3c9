"""Work that one process does for all of a distributed run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch.distributed as dist

from earmark.errors import EarmarkError
from earmark.scoring.table import rank_and_world

T = TypeVar("T")


def on_main_process(work: Callable[[], T]) -> T:
    """Do ``work`` on rank 0 and give every rank its result, or its error.

    Without this eight ranks would scan the same recordings, and an error on one of them would leave the others waiting.

    Args:
        work: returns something picklable.

    Raises:
        EarmarkError: what ``work`` raised, on every rank.
    """
    rank, world = rank_and_world()
    if world == 1:
        return work()
    outcome: list[object] = [None, None]
    if rank == 0:
        try:
            outcome[0] = work()
        except EarmarkError as exc:
            outcome[1] = exc
    dist.broadcast_object_list(outcome)
    if isinstance(outcome[1], EarmarkError):
        outcome[1].shown_by_main_process = rank != 0
        raise outcome[1]
    return outcome[0]  # type: ignore[return-value]  # the broadcast of a T
