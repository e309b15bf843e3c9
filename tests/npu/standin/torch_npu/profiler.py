"""torch_npu's profiler: torch's own on the host, with a trace as torch_npu writes it.

Each operator that calls no other gets a piece of work on the device, as long as the operator took on the host.
"""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any

import torch

schedule = torch.profiler.schedule
_CPU = torch.profiler.ProfilerActivity.CPU
_NPU = types.SimpleNamespace(name="NPU")
_DEVICE = 1 << 20  # process number of the device in traces


def supported_activities() -> list[Any]:
    """CPU and NPU."""
    return [_CPU, _NPU]


class profile(torch.profiler.profile):
    """Records the host; ``activities`` must name the device, too."""

    def __init__(self, *, activities: Any, schedule: Any, record_shapes: bool) -> None:
        assert [activity.name for activity in activities] == ["CPU", "NPU"]
        super().__init__(activities=[_CPU], schedule=schedule, record_shapes=record_shapes)

    def export_chrome_trace(self, path: str) -> None:
        """Write a list of events, with times and shapes as text and arrows from operators to the device."""
        super().export_chrome_trace(path)
        entries = json.loads(Path(path).read_text(encoding="utf-8"))["traceEvents"]
        entries = [entry for entry in entries if entry.get("cat") in ("cpu_op", "user_annotation")]
        Path(path).write_text(json.dumps([*_hosts(entries), *_device(entries)]), encoding="utf-8")


def _hosts(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**entry, "cat": "cpu_op", "ts": str(entry["ts"]), "args": _as_text(entry.get("args", {}))} for entry in entries
    ]


def _as_text(arguments: dict[str, Any]) -> dict[str, Any]:
    shapes = [",".join(map(str, shape)) for shape in arguments.get("Input Dims", ())]
    return {
        "Sequence number": arguments.get("Sequence number", -1),
        "Fwd thread id": arguments.get("Fwd thread id", 0),
        "Input Dims": ";\r\n".join(shapes),
        "Input type": ";\r\n".join(arguments.get("Input type", ())),
    }


def _device(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [
        {"ph": "M", "name": "process_name", "pid": _DEVICE, "args": {"name": "Ascend Hardware"}}
    ]
    ordered = sorted(entries, key=lambda entry: (entry["tid"], entry["ts"], -entry["dur"]))
    for number, (entry, behind) in enumerate(zip(ordered, [*ordered[1:], ordered[0]], strict=True)):
        is_leaf = not (behind["tid"] == entry["tid"] and behind["ts"] < entry["ts"] + entry["dur"])
        if not is_leaf or not entry["name"].startswith("aten::"):
            continue
        ends = {"cat": "async_npu", "name": "torch_to_npu", "id": number, "ts": str(entry["ts"])}
        made += [
            {"ph": "X", "name": "AnyKernel", "pid": _DEVICE, "tid": 1, "ts": str(entry["ts"]), "dur": entry["dur"]},
            {"ph": "s", "pid": entry["pid"], "tid": entry["tid"], **ends},
            {"ph": "f", "pid": _DEVICE, "tid": 1, **ends},
        ]
    return made
