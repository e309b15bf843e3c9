"""The process group of a distributed run."""

from __future__ import annotations

from datetime import timedelta

import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState

from earmark.errors import UsageError, first_line


def start_process_group(device: torch.device, backend: str | None, timeout_s: float) -> str:
    """Start the process group under a launcher; without one only the device is chosen.

    Args:
        device: a device of the kind that the processes compute on.
        backend: of the group; ``None`` for the one that fits the device.
        timeout_s: how long ranks with accelerators wait for each other, in seconds.

    Returns:
        The device that this process is to use, with its index.

    Raises:
        UsageError: the group cannot be made like this.
    """
    AcceleratorState._reset_state(reset_partial_state=True)  # of an earlier run in this process
    try:
        if device.type == "cpu":
            state = PartialState(cpu=True, backend=backend)
        else:
            state = PartialState(backend=backend, timeout=timedelta(seconds=timeout_s))
    except (ValueError, ImportError) as exc:  # how accelerate and torch refuse a backend
        raise UsageError(f"the process group cannot be started: {first_line(exc)}") from exc
    return f"{state.device.type}:{state.device.index or 0}"  # without an index it is the first
