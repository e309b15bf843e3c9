"""``earmark doctor``: every check that applies here, in order.

torch is imported by the probes only, each in a process of its own, so this runs where importing it fails or hangs.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from earmark.device import ACCELERATORS
from earmark.doctor import ascend, nvidia, surroundings, versions
from earmark.doctor.children import Probe, run_probe
from earmark.doctor.devices import (
    IMPORT_TIMEOUT_S,
    check_convolutions,
    check_device,
    check_group,
    check_import,
    check_seen,
    check_trainer,
    probed_devices,
)
from earmark.doctor.findings import Finding, count_by_status, problem
from earmark.doctor.machine import Machine
from earmark.errors import UsageError

logger = logging.getLogger(__name__)

_SMALL_PROBE_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Examination:
    """What the doctor saw.

    Attributes:
        findings: in the order of the checks.
        devices: names of the devices that torch sees, of those asked for; the CPU is not among them.
    """

    findings: list[Finding]
    devices: list[str]

    @property
    def num_problems(self) -> int:
        """How many findings have to be fixed."""
        return count_by_status(self.findings)["problem"]


def device_kind(device: str | None) -> str | None:
    """Return the backend of ``--device``; ``None`` for whatever there is.

    Raises:
        UsageError: it is none.
    """
    if device in (None, "auto"):
        return None
    match = re.fullmatch(rf"({'|'.join(ACCELERATORS)}|cpu)(?::\d+)?", str(device))
    if match is None:
        known = ", ".join(("auto", *ACCELERATORS))
        raise UsageError(f"--device {device}: expected {known} or cpu, or one of them with an index (npu:0)")
    return match.group(1)


def examine(device: str | None = None, machine: Machine | None = None) -> Examination:
    """Run the checks.

    Args:
        device: backend or card to restrict them to; ``None`` for whatever is here, and the CPU.
        machine: where to look; this one unless given.

    Raises:
        UsageError: ``device`` is not a device.
    """
    kind = device_kind(device)
    machine = machine if machine is not None else Machine()
    logger.info("importing torch")
    torch = run_probe(machine, "torch", timeout_s=IMPORT_TIMEOUT_S)
    findings = [versions.check_python(machine), versions.check_requirements(machine), *check_import(machine, torch)]
    for backend, check in {"npu": _check_ascend, "cuda": _check_nvidia}.items():
        if kind in (None, backend):
            findings += check(machine, torch, asked=kind == backend)
    for backend in ACCELERATORS:
        if kind in (None, backend) and backend not in ("npu", "cuda"):
            findings += check_seen(torch, backend, 0, asked=kind == backend)
    chosen = _chosen(device, kind, torch)
    if "torch" in torch.results:
        findings += _check_choice(device, kind, chosen, torch)
        logger.info("importing the trainer")
        findings.append(check_trainer(run_probe(machine, "trainer", timeout_s=IMPORT_TIMEOUT_S)))
        for name in [*chosen, *(["cpu"] if kind in (None, "cpu") else [])]:
            logger.info("computing on %s", name)
            computed = check_device(machine, name)
            findings += computed
            if not count_by_status(computed)["problem"]:
                findings += check_convolutions(machine, name)
        findings += [check_group(machine, cards) for cards in _groups(chosen)]
    logger.info("checking the processor, codecs, disks and the hub")
    return Examination([*findings, *_check_surroundings(machine)], chosen)


def _chosen(device: str | None, kind: str | None, torch: Probe) -> list[str]:
    """Names of the cards to try out: all of the backend, or the one that was named."""
    kinds: Sequence[str] = ACCELERATORS if kind is None else [kind]
    seen = [str(card["device"]) for card in probed_devices(torch, kinds)]
    return [name for name in seen if name == device] if device is not None and ":" in device else seen


def _check_choice(device: str | None, kind: str | None, chosen: Sequence[str], torch: Probe) -> list[Finding]:
    """Return whether the card that was named is there."""
    if device is None or ":" not in device or kind in (None, "cpu") or chosen:
        return []
    seen = [str(card["device"]) for card in probed_devices(torch, [str(kind)])]
    return [
        problem(
            device,
            f"torch sees {', '.join(seen) or f'no {kind} device'}",
            f"--device {device} stops with an error",
            f"choose one of {', '.join(seen)}" if seen else "the findings above say what is missing",
        )
    ]


def _groups(devices: Sequence[str]) -> list[list[str]]:
    """Devices of one backend that could be trained on together, if there are several."""
    of_kinds = [[name for name in devices if name.startswith(f"{kind}:")] for kind in ACCELERATORS]
    return [names for names in of_kinds if len(names) > 1]


def _check_ascend(machine: Machine, torch: Probe, *, asked: bool) -> list[Finding]:
    if not asked and not ascend.is_ascend(machine):
        return [ascend.nothing_here()]
    cann = ascend.find_cann(machine)
    below = [ascend.check_driver(machine), ascend.check_cann(machine)]
    if torch.results.get("npu"):
        below = [_not_in_the_way(finding) for finding in below]
    findings = [*below, *ascend.check_visible(machine), ascend.check_npu_smi(machine)]
    findings += ascend.check_operators(machine, cann)
    if not torch.results.get("npu_loaded"):  # once torch_npu has loaded them, where they lie does not matter
        findings.append(ascend.check_libraries(machine, cann))
    findings += [*versions.check_torch_npu(machine, cann), *ascend.check_settings(machine)]
    return findings + check_seen(torch, "npu", len(machine.card_numbers(ascend.DEVICE)), asked=True)


def _not_in_the_way(finding: Finding) -> Finding:
    """What is not where it usually is, although torch has found the cards."""
    if finding.status != "problem":
        return finding
    return replace(finding, status="warning", means="torch sees cards all the same, so this may be as it should be")


def _check_nvidia(machine: Machine, torch: Probe, *, asked: bool) -> list[Finding]:
    if not asked and not nvidia.is_nvidia(machine):
        return [nvidia.nothing_here()]
    if torch.results.get("built_for_hip") and not nvidia.is_nvidia(machine):  # AMD's cards go by the same name in torch
        return check_seen(torch, "cuda", 0, asked=True)
    driver = nvidia.check_driver(machine)
    findings = [_not_in_the_way(driver) if torch.results.get("cuda") else driver]
    findings += [*nvidia.check_visible(machine), nvidia.check_nvidia_smi(machine)]
    built_for = torch.results.get("built_for_cuda")
    findings.append(nvidia.check_torch_build(machine, built_for, imported="torch" in torch.results))
    if built_for:
        findings += check_seen(torch, "cuda", len(machine.card_numbers(nvidia.DEVICE)), asked=True)
    return findings


def _check_surroundings(machine: Machine) -> list[Finding]:
    codecs = run_probe(machine, "codecs", timeout_s=_SMALL_PROBE_TIMEOUT_S)
    hub = run_probe(machine, "hub", timeout_s=_SMALL_PROBE_TIMEOUT_S)
    return [
        surroundings.check_processor(machine),
        *surroundings.check_codecs(codecs),
        *surroundings.check_disk(machine, hub.results.get("cache")),
        *surroundings.check_shared_memory(machine),
        surroundings.check_hub(hub),
    ]


def environment(machine: Machine) -> dict[str, object]:
    """What a report about this machine has to say first: versions and cards, no names of users, hosts or folders."""
    cann = ascend.find_cann(machine)
    names = ("earmark", "torch", "torch_npu", "transformers", "accelerate", "numpy", "soundfile")
    facts: dict[str, Any] = {
        "system": f"{machine.system} {machine.architecture}",
        "python": ".".join(map(str, machine.python)),
        **{name: version for name in names if (version := machine.version(name)) is not None},
        "cann": cann.version if cann else None,
        "npu driver": ascend.driver_version(machine),
        "nvidia driver": nvidia.driver_version(machine),
    }
    return {name: value for name, value in facts.items() if value is not None}
