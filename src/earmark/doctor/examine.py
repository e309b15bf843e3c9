"""``earmark doctor``: run every check that applies, in order.

Only the probes import torch, each in its own process, so this works even if the import fails or hangs.
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
    """Result of all checks.

    Attributes:
        findings: findings in the order of the checks.
        devices: names of the requested devices that torch sees, without the CPU.
    """

    findings: list[Finding]
    devices: list[str]

    @property
    def num_problems(self) -> int:
        """Number of problems to fix."""
        return count_by_status(self.findings)["problem"]


def device_kind(device: str | None) -> str | None:
    """Return the backend in ``--device``; ``None`` for any backend.

    Raises:
        UsageError: the value is not a device.
    """
    if device in (None, "auto"):
        return None
    match = re.fullmatch(rf"({'|'.join(ACCELERATORS)}|cpu)(?::\d+)?", str(device))
    if match is None:
        known = ", ".join(("auto", *ACCELERATORS))
        raise UsageError(f"--device {device}: unknown device. Use {known} or cpu, or one with an index (npu:0)")
    return match.group(1)


def examine(device: str | None = None, machine: Machine | None = None) -> Examination:
    """Run the checks.

    Args:
        device: backend or card to check; ``None`` for all that exist, and the CPU.
        machine: machine to check; this one by default.

    Raises:
        UsageError: ``device`` is not a device.
    """
    kind = device_kind(device)
    machine = machine if machine is not None else Machine()
    logger.info("importing torch")
    torch = run_probe(machine, "torch", timeout_s=IMPORT_TIMEOUT_S)
    findings = [
        versions.check_python(machine),
        versions.check_requirements(machine),
        *check_import(machine, torch, asked=kind is not None),
    ]
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
    """Return the names of the cards to test: all of the backend, or only the named one."""
    kinds: Sequence[str] = ACCELERATORS if kind is None else [kind]
    seen = [str(card["device"]) for card in probed_devices(torch, kinds)]
    return [name for name in seen if name == device] if device is not None and ":" in device else seen


def _check_choice(device: str | None, kind: str | None, chosen: Sequence[str], torch: Probe) -> list[Finding]:
    """Check that the named card exists."""
    if device is None or ":" not in device or kind in (None, "cpu") or chosen:
        return []
    seen = [str(card["device"]) for card in probed_devices(torch, [str(kind)])]
    return [
        problem(
            device,
            f"torch sees {', '.join(seen) or f'no {kind} device'}",
            f"--device {device} stops with an error",
            f"choose one of {', '.join(seen)}" if seen else "fix the findings above",
        )
    ]


def _groups(devices: Sequence[str]) -> list[list[str]]:
    """Return the groups of at least two devices of one backend, which could train together."""
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
    if not torch.results.get("npu_loaded"):  # if torch_npu has loaded the libraries, their location does not matter
        findings.append(ascend.check_libraries(machine, cann))
    findings += [*versions.check_torch_npu(machine, cann), *ascend.check_settings(machine)]
    return findings + check_seen(torch, "npu", len(machine.card_numbers(ascend.DEVICE)), asked=True)


def _not_in_the_way(finding: Finding) -> Finding:
    """Turn a problem into a warning because torch sees the cards anyway."""
    if finding.status != "problem":
        return finding
    return replace(finding, status="warning", means="torch sees the cards anyway, so this may be fine")


def _check_nvidia(machine: Machine, torch: Probe, *, asked: bool) -> list[Finding]:
    if not asked and not nvidia.is_nvidia(machine):
        return [nvidia.nothing_here()]
    if torch.results.get("built_for_hip") and not nvidia.is_nvidia(machine):  # torch uses the same name for AMD's cards
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
    """Return versions and cards for a report, without names of users, hosts or folders."""
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
