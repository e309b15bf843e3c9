"""Read the events of a trace in Chrome's format, as torch.profiler and torch_npu.profiler write them."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# categories of events on the device, in traces of torch.profiler
_ON_DEVICE = ("kernel", "gpu_memcpy", "gpu_memset")
_NPU_PROCESS = "Ascend Hardware"  # name of the process with the events on the device, in traces of torch_npu.profiler
_NPU_FLOW = "async_npu"  # category of the arrows from an operator to the kernels that it started


@dataclass(frozen=True)
class TraceEvent:
    """A stretch of time on a thread of the host, or on the device.

    Attributes:
        name: name of an operator, a range or a kernel.
        start_us: start, in microseconds.
        duration_us: duration, in microseconds.
        thread: the thread, or ``None`` on the device.
        id: identifies an operator; ``None`` if nothing refers to it.
        launched_by: the :attr:`id` of the operator that started a kernel.
        sequence: on the host, number of the autograd node that the operator made or belongs to; ``None`` without one.
        is_backward: whether it runs a node of autograd, instead of making one.
        shapes: shapes of the arguments of an operator; see :func:`earmark.profiling.operations.operations`.
        values: its other arguments.
        dtype: type of its first argument.
    """

    name: str
    start_us: float
    duration_us: float
    thread: Hashable | None = 0
    id: Hashable | None = None
    launched_by: Hashable | None = None
    sequence: int | None = None
    is_backward: bool = False
    shapes: Sequence[Sequence[int]] = ()
    values: Sequence[str] = ()
    dtype: str = ""

    @property
    def end_us(self) -> float:
        """End, in microseconds."""
        return self.start_us + self.duration_us


def read_events(trace: Any) -> list[TraceEvent]:
    """Return the events of a trace.

    Args:
        trace: content of the JSON file: a list of events, or a mapping with them under ``traceEvents``.
    """
    entries = trace["traceEvents"] if isinstance(trace, Mapping) else trace
    npu = {
        entry["pid"]
        for entry in entries
        if entry.get("name") == "process_name" and entry.get("args", {}).get("name") == _NPU_PROCESS
    }
    launches = _npu_launches(entries)
    events = []
    for entry in entries:
        if entry.get("ph") != "X":
            continue
        category, args = entry.get("cat"), entry.get("args") or {}
        if entry.get("pid") in npu:
            events.append(_on_device(entry, launches.get(_place(entry))))
        elif category in _ON_DEVICE:
            events.append(_on_device(entry, args.get("External id")))
        elif category in ("cpu_op", "user_annotation"):
            events.append(_on_host(entry, args, _place(entry) if launches else args.get("External id")))
    return events


def _on_device(entry: Mapping[str, Any], launched_by: Hashable | None) -> TraceEvent:
    return TraceEvent(str(entry["name"]), float(entry["ts"]), float(entry["dur"]), None, launched_by=launched_by)


def _on_host(entry: Mapping[str, Any], args: Mapping[str, Any], identity: Hashable | None) -> TraceEvent:
    sequence = int(args.get("Sequence number", -1))
    types = _split(args.get("Input type", ()))
    return TraceEvent(
        str(entry["name"]),
        float(entry["ts"]),
        float(entry["dur"]),
        (entry.get("pid"), entry.get("tid")),
        id=identity,
        sequence=sequence if sequence >= 0 else None,
        is_backward=int(args.get("Fwd thread id", 0)) != 0,
        shapes=[_shape(shape) for shape in _split(args.get("Input Dims", ()))],
        values=_split(args.get("Concrete Inputs", ())),
        dtype=next((kind for kind in types if kind), ""),
    )


def _npu_launches(entries: Sequence[Mapping[str, Any]]) -> dict[Hashable, Hashable]:
    """Return the place of the operator that started each kernel, by the place of the kernel."""
    flows = [entry for entry in entries if entry.get("cat") == _NPU_FLOW]
    starts = {entry["id"]: _place(entry) for entry in flows if entry["ph"] == "s"}
    return {_place(entry): starts[entry["id"]] for entry in flows if entry["ph"] == "f" and entry["id"] in starts}


def _place(entry: Mapping[str, Any]) -> Hashable:
    return entry.get("pid"), entry.get("tid"), float(entry["ts"])


def _split(values: Any) -> Sequence[Any]:
    """Return arguments as a list; torch_npu.profiler writes them as text with semicolons between."""
    return [part.strip() for part in values.split(";")] if isinstance(values, str) else values


def _shape(shape: Any) -> list[int]:
    if isinstance(shape, str):
        return [int(size) for size in re.findall(r"\d+", shape)]
    return [size for size in shape if isinstance(size, int)]
