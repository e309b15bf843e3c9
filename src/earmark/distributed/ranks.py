"""Let one rank of a distributed run work for the others, and check that all ranks agree."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ParamSpec, TypeVar

from earmark.errors import DataError, EarmarkError

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class MachineRanks:
    """The ranks on one machine, which have the same file system.

    Attributes:
        ranks: numbers of the ranks in order; the first one does work that is needed once.
        group: their process group on the CPU; ``None`` outside a distributed run.
    """

    ranks: list[int]
    group: Any


def rank_and_world() -> tuple[int, int]:
    """Return the rank of this process and the number of ranks: ``(0, 1)`` outside a distributed run."""
    # Importing it takes seconds; if nothing has imported it, the run has one rank.
    dist = sys.modules.get("torch.distributed")
    if dist is None or not dist.is_available() or not dist.is_initialized():
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def gathered(value: T) -> list[T]:
    """Return the values of all ranks, in the order of the ranks; every rank must call this.

    Args:
        value: a picklable value.
    """
    world = rank_and_world()[1]
    if world == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * world
    dist.all_gather_object(values, value)
    return values


def all_ranks_ok(ok: bool) -> bool:
    """Return whether ``ok`` is true on all ranks; every rank must call this."""
    return all(gathered(ok))


def raise_on_all_ranks(error: EarmarkError | None) -> None:
    """Raise an error that all ranks have, so that only one reports it; do nothing without an error."""
    if error is not None:
        error.of_all_ranks = True
        raise error


def ranks_on_this_machine() -> MachineRanks:
    """Return the ranks of this machine. All ranks must make the first call together."""
    return _ranks_on_this_machine(*rank_and_world())


@cache
def _ranks_on_this_machine(rank: int, world: int) -> MachineRanks:
    if world == 1:
        return MachineRanks([0], None)
    import torch.distributed as dist

    names = gathered(_machine_name())
    machines = {name: [other for other in range(world) if names[other] == name] for name in names}
    # A gloo group on the CPU, because a group of accelerators would take memory on each of them.
    groups = {name: dist.new_group(ranks, backend="gloo") for name, ranks in machines.items()}
    return MachineRanks(machines[names[rank]], groups[names[rank]])


def _machine_name() -> str:
    """Return the host name with torchrun's number for this launcher."""
    return f"{socket.gethostname()}/{os.environ.get('GROUP_RANK', '0')}"


def on_main_process(work: Callable[P, T], *args: P.args, **keywords: P.kwargs) -> T:
    """Call ``work`` on rank 0, and return its result or raise its error on every rank.

    Without this, all ranks would write the same file, and the others would wait forever after an error on one of them.

    Args:
        work: function whose result is picklable in a distributed run.
        *args: its arguments.
        **keywords: its keyword arguments.

    Raises:
        EarmarkError: ``work`` raised it on rank 0.
    """
    rank, world = rank_and_world()
    if world == 1:
        return work(*args, **keywords)
    import torch.distributed as dist

    outcome = _outcome(work, *args, **keywords) if rank == 0 else [None, None]
    dist.broadcast_object_list(outcome)
    raise_on_all_ranks(outcome[1])
    return outcome[0]  # type: ignore[return-value]  # the broadcast of a T


def on_each_machine(work: Callable[P, T], *args: P.args, **keywords: P.kwargs) -> T:
    """Call ``work`` on one rank of each machine, and return its result on all ranks of that machine.

    Args:
        work: function whose result is picklable in a distributed run.
        *args: its arguments.
        **keywords: its keyword arguments.

    Raises:
        EarmarkError: ``work`` raised it on a machine; every rank raises the error of the first such machine.
    """
    rank, world = rank_and_world()
    if world == 1:
        return work(*args, **keywords)
    import torch.distributed as dist

    machine = ranks_on_this_machine()
    first = machine.ranks[0]
    outcome = _outcome(work, *args, **keywords) if rank == first else [None, None]
    dist.broadcast_object_list(outcome, src=first, group=machine.group)
    for other, (name, error) in enumerate(gathered((_machine_name(), outcome[1]))):
        if error is not None and other > 0:  # name the machine, because rank 0 reports the error
            error.args = (f"rank {other} on {name}: {error}",)
        raise_on_all_ranks(error)
    return outcome[0]  # type: ignore[return-value]  # the broadcast of a T


def _outcome(work: Callable[P, Any], *args: P.args, **keywords: P.kwargs) -> list[Any]:
    """Return the result of ``work`` and the error that it raised."""
    try:
        return [work(*args, **keywords), None]
    except EarmarkError as exc:
        return [None, exc]


def check_same_on_all_ranks(facts: Mapping[str, object]) -> None:
    """Check that all ranks have the same data and settings; otherwise they would wait for each other forever.

    Args:
        facts: plain values such as counts and settings, by their name in a message.

    Raises:
        DataError: a rank has different values. All ranks raise it and name the first such rank.
    """
    seen = gathered((_machine_name(), dict(facts)))
    name_of_main, of_main = seen[0]
    for other, (name, of_other) in enumerate(seen):
        different = [
            f"{what} {of_other[what]} not {value}" for what, value in of_main.items() if of_other[what] != value
        ]
        if different:
            raise_on_all_ranks(
                DataError(
                    f"rank {other} on {name} differs from rank 0 on {name_of_main}: {', '.join(different)}. Give every "
                    "machine the same recordings and the same command."
                )
            )
