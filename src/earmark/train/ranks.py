"""Work that one process does for others of a distributed run, and seeing that all of them have the same before them."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch.distributed as dist
from accelerate import PartialState
from accelerate.state import AcceleratorState

from earmark.device import Abilities, abilities, select_device
from earmark.errors import DataError, EarmarkError, UsageError, first_line
from earmark.runs.in_use import held
from earmark.scoring.table import rank_and_world
from earmark.settings.train_settings import TrainSettings
from earmark.threads import watch

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Machine:
    """The ranks that share a machine, and with it a file system.

    Attributes:
        ranks: of all of them, in order; the first works for the others.
        group: process group of these, on the host; ``None`` outside a distributed run.
    """

    ranks: list[int]
    group: Any


@dataclass(frozen=True)
class Ranks:
    """The processes that train together, as this one sees them.

    Attributes:
        device: what the device of this process can do.
        world_size: their number.
    """

    device: Abilities
    world_size: int


def start_ranks(settings: TrainSettings) -> Ranks:
    """Find the device of this process and, under a launcher, start the process group.

    Raises:
        DeviceError: the device is not there.
        UsageError: ``--device`` names another card than the launcher gives this process, or the process group cannot
            be made as ``--ddp_backend`` says.
    """
    name, training = settings.run.device, settings.training
    device = select_device("cpu" if training.use_cpu else name)
    AcceleratorState._reset_state(reset_partial_state=True)  # of an earlier run in this process
    try:
        if device.type == "cpu":
            logger.info("threads: %s", watch.describe())
            state = PartialState(cpu=True, backend=training.ddp_backend)
        else:
            state = PartialState(backend=training.ddp_backend, timeout=timedelta(seconds=training.ddp_timeout))
    except (ValueError, ImportError) as exc:  # how accelerate and torch refuse a backend
        raise UsageError(f"the process group cannot be started: {first_line(exc)}") from exc
    used = f"{state.device.type}:{state.device.index or 0}"  # without an index it is the first
    if ":" in name and used != f"{device.type}:{device.index or 0}":
        raise UsageError(
            f"--device {name}: training takes {used}. Choose the card with ASCEND_RT_VISIBLE_DEVICES or "
            "CUDA_VISIBLE_DEVICES, or start one process for each card with torchrun."
        )
    return Ranks(abilities(device), rank_and_world()[1])


def this_machine() -> Machine:
    """The machine of this rank. The first call is one that all ranks have to make."""
    return _machine(*rank_and_world())


@cache
def _machine(rank: int, world: int) -> Machine:
    if world == 1:
        return Machine([0], None)
    names: list[Any] = [None] * world
    dist.all_gather_object(names, _machine_name())
    machines = {name: [other for other in range(world) if names[other] == name] for name in names}
    # on the host: a group of accelerators would take memory of each
    groups = {name: dist.new_group(ranks, backend="gloo") for name, ranks in machines.items()}
    return Machine(machines[names[rank]], groups[names[rank]])


def _machine_name() -> str:
    """The host, and torchrun's number for the launcher on it."""
    return f"{socket.gethostname()}/{os.environ.get('GROUP_RANK', '0')}"


def on_main_process(work: Callable[[], T]) -> T:
    """Do ``work`` on rank 0 and give every rank its result, or its error.

    Without this eight ranks would write the same file, and an error on one of them would leave the others waiting.

    Args:
        work: returns something picklable.

    Raises:
        EarmarkError: what ``work`` raised, on every rank.
    """
    rank, world = rank_and_world()
    if world == 1:
        return work()
    outcome = _outcome(work) if rank == 0 else [None, None]
    dist.broadcast_object_list(outcome)
    _raise_on_all(outcome[1])
    return outcome[0]  # type: ignore[return-value]  # the broadcast of a T


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Keep other commands out of an output folder; rank 0 does, for all.

    Raises:
        OutputError: another process works in it, or it cannot be written; on every rank.
    """
    with ExitStack() as stack:
        on_main_process(lambda: stack.enter_context(held(folder)))
        yield


def on_each_machine(work: Callable[[], T]) -> T:
    """Do ``work`` on one rank of each machine and give its result to the ranks there.

    Args:
        work: returns something picklable.

    Raises:
        EarmarkError: what ``work`` raised on the first machine where it did, on every rank.
    """
    rank, world = rank_and_world()
    if world == 1:
        return work()
    machine = this_machine()
    first = machine.ranks[0]
    outcome = _outcome(work) if rank == first else [None, None]
    dist.broadcast_object_list(outcome, src=first, group=machine.group)
    errors: list[Any] = [None] * world
    dist.all_gather_object(errors, (_machine_name(), outcome[1]))
    failed = next((other for other in range(world) if errors[other][1] is not None), None)
    if failed is not None:
        name, error = errors[failed]
        if failed > 0:  # the others saw nothing wrong
            error.args = (f"rank {failed} on {name}: {error}",)
        _raise_on_all(error)
    return outcome[0]  # type: ignore[return-value]  # the broadcast of a T


def _outcome(work: Callable[[], Any]) -> list[Any]:
    """What ``work`` returned, and the error it raised."""
    try:
        return [work(), None]
    except EarmarkError as exc:
        return [None, exc]


def _raise_on_all(error: EarmarkError | None) -> None:
    if error is not None:
        error.of_all_ranks = True
        raise error


def check_same_on_all_ranks(facts: Mapping[str, Any]) -> None:
    """See that all ranks work on the same, before they wait for each other in vain.

    Args:
        facts: counts, settings and the like, by what to call them in a message; plain values.

    Raises:
        DataError: a rank has others; on every rank, naming the first such rank.
    """
    world = rank_and_world()[1]
    if world == 1:
        return
    seen: list[Any] = [None] * world
    dist.all_gather_object(seen, (_machine_name(), dict(facts)))
    name_of_main, of_main = seen[0]
    for other, (name, of_other) in enumerate(seen):
        different = [
            f"{what} {of_other[what]} not {value}" for what, value in of_main.items() if of_other[what] != value
        ]
        if different:
            _raise_on_all(
                DataError(
                    f"rank {other} on {name} differs from rank 0 on {name_of_main}: {', '.join(different)}; every "
                    "machine has to see all of the same recordings and to start the same command"
                )
            )
