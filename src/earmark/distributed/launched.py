"""Read the environment variables that a launcher such as torchrun sets for its processes."""

from __future__ import annotations

import os
from collections.abc import Mapping


def is_launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether a launcher such as torchrun has started this process.

    WORLD_SIZE is not enough, because some clusters set it for any program.
    """
    return bool(environment.get("LOCAL_RANK"))


def launched_processes() -> int:
    """Return the number of processes that the launcher started together; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE") or 1) if is_launched() else 1


def launched_rank() -> int:
    """Return the rank of this process; 0 without a launcher."""
    return int(os.environ.get("RANK") or 0)


def local_rank() -> int:
    """Return the index of this process, and of its device, on its machine; 0 without a launcher."""
    return int(os.environ.get("LOCAL_RANK") or 0)


def is_main_process() -> bool:
    """Return whether this process logs and reports: it is rank 0, or the only process."""
    return launched_rank() == 0
