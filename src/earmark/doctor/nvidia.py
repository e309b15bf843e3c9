"""What an NVIDIA card needs below torch: driver, ``nvidia-smi``, a torch that was built for it."""

from __future__ import annotations

import re

from earmark.doctor.findings import Finding, ok, problem, skipped, warning
from earmark.doctor.machine import Machine
from earmark.doctor.vendor_tool import ask_tool, tool_failed

DEVICE = "nvidia"  # of a card: /dev/nvidia0


def driver_version(machine: Machine) -> str | None:
    """Version of the loaded driver."""
    try:
        text = machine.path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None  # no driver, or a system that tells nothing there
    match = re.search(r"^NVRM version:.*?\s(\d+\.\d+(?:\.\d+)?)\s", text, re.MULTILINE)
    return match.group(1) if match else None


def is_nvidia(machine: Machine) -> bool:
    """Return whether there is an NVIDIA driver or card here."""
    return driver_version(machine) is not None or bool(machine.card_numbers(DEVICE))


def check_driver(machine: Machine) -> Finding:
    """Return the driver and its nodes."""
    name, cards, version = "nvidia driver", machine.card_numbers(DEVICE), driver_version(machine)
    if not cards:
        installed = f"driver {version} is loaded, but " if version else ""
        return problem(
            name,
            f"{installed}there is no /dev/nvidia0",
            "no NVIDIA card can be used: there is none, the driver is not loaded, or this container was not given it",
            "on the host: nvidia-smi, else install the driver; containers: --gpus all",
        )
    return ok(name, f"cards {', '.join(map(str, cards))}" + (f", driver {version}" if version else ""))


def check_visible(machine: Machine) -> list[Finding]:
    """Return whether ``CUDA_VISIBLE_DEVICES`` hides every card."""
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
    """What the vendor's own tool says about the cards."""
    name, query = "nvidia-smi", ["--query-gpu=name,memory.total", "--format=csv,noheader"]
    answer = ask_tool(machine, name, query, "it comes with the driver; containers get it with --gpus all")
    if isinstance(answer, Finding):
        return answer
    if answer.code == 0 and answer.output.strip():
        return ok(name, "; ".join(answer.output.strip().splitlines()))
    return tool_failed(name, answer)


def check_torch_build(machine: Machine, built_for: str | None, *, imported: bool) -> Finding:
    """Return whether the installed torch can use an NVIDIA card at all.

    Args:
        machine: its metadata tell where torch cannot be imported.
        built_for: CUDA version of this torch, as it says itself; ``None`` for a build without.
        imported: whether it could be asked.
    """
    version = machine.version("torch")
    if built_for is not None:
        return ok("torch build", f"torch {version} for CUDA {built_for}")
    if not imported and not (version or "").endswith("+cpu"):
        return skipped("torch build", "torch cannot be imported, so it cannot be asked")
    release = (version or "").split("+")[0]
    return problem(
        "torch build",
        f"torch {version} is a build for the CPU only",
        "it does not use an NVIDIA card",
        f"pip install --force-reinstall torch=={release} from the index that PyTorch's install page names for the CUDA "
        "that nvidia-smi shows",
    )


def nothing_here() -> Finding:
    """No trace of NVIDIA, and nobody asked for it."""
    return skipped("nvidia", "no NVIDIA card or driver here")
