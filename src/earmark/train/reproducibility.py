"""Facts that change the last bits of a run: device, CPU threads, instruction sets and versions."""

from __future__ import annotations

import os
from typing import Any

import torch
import transformers

import earmark
from earmark.device import describe_device
from earmark.threads import watch

# Environment variables that make the CPU libraries use other instructions, and so another order of additions.
_VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
)


def arithmetic_facts(device: torch.device) -> dict[str, object]:
    """Return the facts that change the last bits of sums, as plain values for checkpoints.

    Args:
        device: device of the run.
    """
    facts: dict[str, Any] = {
        "earmark": earmark.__version__,
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
        "device": describe_device(device),
    }
    if device.type == "cpu":  # sums are split over the threads, so their number changes the last bits
        facts["threads"] = watch.most_threads()
        facts |= {name: os.environ.get(name, "unset") for name in _VARIABLES}
    return facts
