"""Check what an NVIDIA card needs below torch: driver, ``nvidia-smi``, a torch build with CUDA."""

from __future__ import annotations

import re

from earmark.doctor.findings import Finding, ok, problem, skipped, warning
from earmark.doctor.machine import Machine
from earmark.doctor.vendor_tool import ask_tool, tool_failed

DEVICE = "nvidia"  # prefix of device nodes: /dev/nvidia0


def driver_version(machine: Machine) -> str | None:
    """Return the version of the loaded driver."""
    try:
        text = machine.path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None  # no driver, or a system without this file
    match = re.search(r"^NVRM version:.*?\s(\d+\.\d+(?:\.\d+)?)\s", text, re.MULTILINE)
    return match.group(1) if match else None


def is_nvidia(machine: Machine) -> bool:
    """Return whether this machine has an NVIDIA driver or card."""
    return driver_version(machine) is not None or bool(machine.card_numbers(DEVICE))


def check_driver(machine: Machine) -> Finding:
    """Check the driver and its device nodes."""
    name, cards, version = "nvidia driver", machine.card_numbers(DEVICE), driver_version(machine)
    if not cards:
        installed = f"driver {version} is loaded, but " if version else ""
        return problem(
            name,
            f"{installed}there is no /dev/nvidia0",
            "no NVIDIA card can be used: there is none, the driver is not loaded, or this container has no access",
            "on the host: run nvidia-smi, and install the driver if that fails; containers: --gpus all",
        )
    return ok(name, f"cards {', '.join(map(str, cards))}" + (f", driver {version}" if version else ""))


def check_visible(machine: Machine) -> list[Finding]:
    """Check that ``CUDA_VISIBLE_DEVICES`` does not hide all cards."""
    asked = machine.environment.get("CUDA_VISIBLE_DEVICES")
    if asked is None:
        return []
    if asked.strip() in ("", "-1", "NoDevFiles"):
        return [
            warning(
                "nvidia choice",
                f"CUDA_VISIBLE_DEVICES={asked!r}",
                "all cards are hidden from torch",
                "unset CUDA_VISIBLE_DEVICES",
            )
        ]
    return [ok("nvidia choice", f"CUDA_VISIBLE_DEVICES={asked}")]


def check_nvidia_smi(machine: Machine) -> Finding:
    """Check the cards with the vendor's tool."""
    name, query = "nvidia-smi", ["--query-gpu=name,memory.total", "--format=csv,noheader"]
    answer = ask_tool(machine, name, query, "it comes with the driver; containers get it with --gpus all")
    if isinstance(answer, Finding):
        return answer
    if answer.code == 0 and answer.output.strip():
        return ok(name, "; ".join(answer.output.strip().splitlines()))
    return tool_failed(name, answer)


def check_torch_build(machine: Machine, built_for: str | None, *, imported: bool) -> Finding:
    """Check that the installed torch was built for NVIDIA cards.

    Args:
        machine: its package metadata is used if torch cannot be imported.
        built_for: CUDA version of this torch build; ``None`` for a build without CUDA.
        imported: whether torch could be imported.
    """
    version = machine.version("torch")
    if built_for is not None:
        return ok("torch build", f"torch {version} for CUDA {built_for}")
    if not imported and not (version or "").endswith("+cpu"):
        return skipped("torch build", "unknown, because torch cannot be imported")
    release = (version or "").split("+")[0]
    return problem(
        "torch build",
        f"torch {version} is a build for the CPU only",
        "it cannot use an NVIDIA card",
        f"pip install --force-reinstall torch=={release} from the index that PyTorch's install page lists for the CUDA "
        "version shown by nvidia-smi",
    )


def nothing_here() -> Finding:
    """Return the finding for a machine without an NVIDIA card."""
    return skipped("nvidia", "no NVIDIA card or driver here")
