"""Explain the errors of ranks that lose contact."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from earmark.distributed.ranks import rank_and_world
from earmark.errors import DeviceError
from earmark.faults import explain


@contextmanager
def translated_faults() -> Iterator[None]:
    """Explain errors of HCCL, NCCL, gloo and torch about ranks that lose contact.

    Raises:
        DeviceError: the error is a known one.
    """
    try:
        yield
    except RuntimeError as exc:  # the base class of torch's process-group errors; torch_npu raises it directly
        fault = explain(str(exc), of_ranks=True) if rank_and_world()[1] > 1 else None
        if fault is None:
            raise
        raise DeviceError(f"{fault.means}: {fault.fix} ({fault.line})") from exc
