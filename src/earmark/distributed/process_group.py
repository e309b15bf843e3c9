"""Start the process group of a distributed run."""

from __future__ import annotations

from datetime import timedelta

import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState

from earmark.errors import UsageError, first_line


def start_process_group(device: torch.device, backend: str | None, timeout_s: float) -> str:
    """Start the process group if there is a launcher, and return this process's device.

    Args:
        device: a device of the kind that the processes use.
        backend: communication backend; ``None`` for the default of the device.
        timeout_s: how long ranks with accelerators wait for each other, in seconds.

    Returns:
        The device of this process, with its index.

    Raises:
        UsageError: the backend cannot be used.
    """
    AcceleratorState._reset_state(reset_partial_state=True)  # an earlier run in this process may have set it
    try:
        if device.type == "cpu":
            state = PartialState(cpu=True, backend=backend)
        else:
            state = PartialState(backend=backend, timeout=timedelta(seconds=timeout_s))
    except (ValueError, ImportError) as exc:  # errors of accelerate and torch about a backend
        fix = (
            "Start earmark without a launcher, after `unset LOCAL_RANK RANK WORLD_SIZE`, or with torchrun"
            if backend is None
            else "Leave --ddp_backend out, or name another backend"
        )
        raise UsageError(f"the process group cannot be started ({first_line(exc)}). {fix}.") from exc
    return f"{state.device.type}:{state.device.index or 0}"  # a device without an index is the first of its kind
