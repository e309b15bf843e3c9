"""What a launcher such as torchrun tells the processes that it starts."""

from __future__ import annotations

import os
from collections.abc import Mapping


def is_launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether a launcher such as torchrun has started this process.

    WORLD_SIZE is no sign of it, because some clusters set it for programs of any kind.
    """
    return bool(environment.get("LOCAL_RANK"))


def launched_processes() -> int:
    """Return the number of processes that a launcher has started together; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE") or 1) if is_launched() else 1


def launched_rank() -> int:
    """Return the rank of this process; 0 without a launcher."""
    return int(os.environ.get("RANK") or 0)


def local_rank() -> int:
    """Return the number of this process on its machine, which is also that of its device; 0 without a launcher."""
    return int(os.environ.get("LOCAL_RANK") or 0)


def is_main_process() -> bool:
    """Whether this process is the one that speaks: rank 0 of a launcher, or the only one."""
    return launched_rank() == 0
