"""The ranks of a distributed run: work that one of them does for others, and checks that all of them agree."""

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
    """The ranks that share a machine, and with it a file system.

    Attributes:
        ranks: of all of them, in order; the first works for the others.
        group: process group of these, on the host; ``None`` outside a distributed run.
    """

    ranks: list[int]
    group: Any


def rank_and_world() -> tuple[int, int]:
    """This process's number and how many there are: ``(0, 1)`` outside a distributed run."""
    dist = sys.modules.get("torch.distributed")  # before it is imported, which takes seconds, there is one process
    if dist is None or not dist.is_available() or not dist.is_initialized():
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def gathered(value: T) -> list[T]:
    """Return the value of every rank, by rank; every rank has to call this.

    Args:
        value: something picklable.
    """
    world = rank_and_world()[1]
    if world == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * world
    dist.all_gather_object(values, value)
    return values


def all_ranks_ok(ok: bool) -> bool:
    """Return whether all ranks are fine; every rank has to call this."""
    return all(gathered(ok))


def raise_on_all_ranks(error: EarmarkError | None) -> None:
    """Raise an error that every rank knows of, so that one of them reports it; do nothing without an error."""
    if error is not None:
        error.of_all_ranks = True
        raise error


def ranks_on_this_machine() -> MachineRanks:
    """Return the ranks of this machine. The first call is one that all ranks have to make."""
    return _ranks_on_this_machine(*rank_and_world())


@cache
def _ranks_on_this_machine(rank: int, world: int) -> MachineRanks:
    if world == 1:
        return MachineRanks([0], None)
    import torch.distributed as dist

    names = gathered(_machine_name())
    machines = {name: [other for other in range(world) if names[other] == name] for name in names}
    # on the host: a group of accelerators would take memory of each
    groups = {name: dist.new_group(ranks, backend="gloo") for name, ranks in machines.items()}
    return MachineRanks(machines[names[rank]], groups[names[rank]])


def _machine_name() -> str:
    """The host, and torchrun's number for the launcher on it."""
    return f"{socket.gethostname()}/{os.environ.get('GROUP_RANK', '0')}"


def on_main_process(work: Callable[P, T], *args: P.args, **keywords: P.kwargs) -> T:
    """Call ``work`` on rank 0 and give every rank its result, or its error.

    Without this eight ranks would write the same file, and an error on one of them would leave the others waiting.

    Args:
        work: returns something picklable, in a distributed run.
        *args: its arguments.
        **keywords: its keyword arguments.

    Raises:
        EarmarkError: what ``work`` raised, on every rank.
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
    """Call ``work`` on one rank of each machine and give its result to the ranks there.

    Args:
        work: returns something picklable, in a distributed run.
        *args: its arguments.
        **keywords: its keyword arguments.

    Raises:
        EarmarkError: what ``work`` raised on the first machine where it did, on every rank.
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
        if error is not None and other > 0:  # rank 0 and its machine saw nothing wrong
            error.args = (f"rank {other} on {name}: {error}",)
        raise_on_all_ranks(error)
    return outcome[0]  # type: ignore[return-value]  # the broadcast of a T


def _outcome(work: Callable[P, Any], *args: P.args, **keywords: P.kwargs) -> list[Any]:
    """What ``work`` returned, and the error it raised."""
    try:
        return [work(*args, **keywords), None]
    except EarmarkError as exc:
        return [None, exc]


def check_same_on_all_ranks(facts: Mapping[str, object]) -> None:
    """See that all ranks work on the same, before they wait for each other in vain.

    Args:
        facts: counts, settings and the like, by what to call them in a message; plain values.

    Raises:
        DataError: a rank has others; on every rank, naming the first such rank.
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
                    f"rank {other} on {name} differs from rank 0 on {name_of_main}: {', '.join(different)}; every "
                    "machine has to see all of the same recordings and to start the same command"
                )
            )
