"""Check that versions are compatible: earmark's requirements, and torch, torch_npu, CANN and Python.

The table comes from COMPATIBILITY.en.md in Ascend/pytorch as of 2026-08-21. Versions are read from package metadata,
without imports.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from earmark.doctor.ascend import Cann
from earmark.doctor.findings import Finding, ok, problem, skipped, warning
from earmark.doctor.machine import Machine

TABLE_SOURCE = "COMPATIBILITY.en.md of Ascend/pytorch, 2026-08-21"
RECOMMENDED = ("2.12.0", "9.1.0")  # torch and torch_npu, CANN

OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 14)

# Packages that replace a required package on other devices, by the name of the required package
_BUILDS = {
    "onnxruntime": tuple(
        f"onnxruntime-{device}"
        for device in ("gpu", "cann", "directml", "openvino", "qnn", "rocm", "migraphx", "webgpu", "silicon")
    )
}


@dataclass(frozen=True)
class VersionRow:
    """Versions that fit one version of torch.

    Attributes:
        cann: CANN version for each release of torch_npu; empty if the source does not list it.
        pythons: oldest and newest Python; ``None`` if the source does not list them.
    """

    cann: Mapping[str, str]
    pythons: tuple[tuple[int, int], tuple[int, int]] | None


_TO_11 = ((3, 9), (3, 11))
_TO_13 = ((3, 9), (3, 13))
_FROM_10_TO_13 = ((3, 10), (3, 13))
_FROM_10_TO_14 = ((3, 10), (3, 14))
TABLE: dict[str, VersionRow] = {
    "2.5.1": VersionRow({"2.5.1": "8.1.RC1", "2.5.1.post1": "8.2.RC1"}, _TO_11),
    "2.6.0": VersionRow({"2.6.0": "8.2.RC1", "2.6.0.post3": "8.3.RC1", "2.6.0.post5": "8.5.0"}, _TO_11),
    "2.7.1": VersionRow(
        {"2.7.1": "8.3.RC1", "2.7.1.post2": "8.5.0", "2.7.1.post4": "9.0.0", "2.7.1.post8": "9.1.0"}, _TO_13
    ),
    "2.8.0": VersionRow({"2.8.0": "8.3.RC1", "2.8.0.post2": "8.5.0", "2.8.0.post4": "9.0.0"}, _TO_13),
    "2.9.0": VersionRow({"2.9.0": "8.5.0", "2.9.0.post2": "9.0.0", "2.9.0.post6": "9.1.0"}, _FROM_10_TO_13),
    "2.10.0": VersionRow({"2.10.0": "9.0.0", "2.10.0.post4": "9.1.0"}, _FROM_10_TO_13),
    "2.11.0": VersionRow({"2.11.0": "9.1.0"}, _FROM_10_TO_14),
    "2.12.0": VersionRow({"2.12.0": "9.1.0"}, _FROM_10_TO_14),
    "2.13.0": VersionRow({"2.13.0": ""}, None),
    "2.14.0": VersionRow({"2.14.0": ""}, None),
}


def check_python(machine: Machine) -> Finding:
    """Check the version of Python, and report the system."""
    version = ".".join(map(str, machine.python))
    seen = f"Python {version} on {machine.system} {machine.architecture}"
    if not OLDEST_PYTHON <= machine.python <= NEWEST_PYTHON:
        versions = " to ".join(".".join(map(str, one)) for one in (OLDEST_PYTHON, NEWEST_PYTHON))
        return problem("python", seen, f"earmark runs on Python {versions}", "make an environment with one of those")
    return ok("python", seen)


def check_requirements(machine: Machine) -> Finding:
    """Check the versions of earmark's requirements; those for training are checked only if torch is installed."""
    if not machine.requirements:
        return skipped("packages", "earmark runs from a checkout without metadata, so its requirements are unknown")
    try:
        requirements: Any = importlib.import_module("packaging.requirements")
    except ImportError:
        return problem(
            "packages", "packaging is not installed", "ONNX Runtime and Transformers need it", "pip install packaging"
        )
    extra = "" if machine.version("torch") is None else "train"
    told, commands, count = [], [], 0
    for line in machine.requirements:
        wanted = requirements.Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
            continue
        count += 1
        name = _installed_build(machine, wanted.name)
        version = machine.version(name)
        if version is not None and wanted.specifier.contains(version, prereleases=True):
            continue
        told.append(f"{name} is not installed" if version is None else f"{name} {version}, wanted {wanted.specifier}")
        commands.append(f"'{name}{wanted.specifier}'")
    if not told:
        return ok("packages", f"all {count} that earmark requires")
    has_torch = any("'torch" in name for name in commands)
    build = " (docs/install.md names the torch build for each card)" if has_torch else ""
    return problem(
        "packages",
        "; ".join(told),
        "commands that need them stop with an import error, or misbehave",
        f"pip install --upgrade {' '.join(commands)}{build}",
    )


def _installed_build(machine: Machine, package: str) -> str:
    """Return the name of the installed build of a package, such as ``onnxruntime-gpu``; ``package`` if none is."""
    builds = _BUILDS.get(package, ())
    installed = [build for build in (package, *builds) if machine.version(build) is not None]
    return next(iter(installed), package)


def check_torch_npu(machine: Machine, cann: Cann | None) -> list[Finding]:
    """Check torch, torch_npu, CANN and Python against the table."""
    torch, plugin = machine.version("torch"), machine.version("torch_npu")
    release = _release(torch)
    if torch is None:
        return [skipped("npu versions", "torch is not installed")]
    if plugin is None:
        return [_missing_plugin(machine, release, cann)]
    if _release(plugin).split(".post")[0] != release:
        return [
            problem(
                "npu versions",
                f"torch {torch} and torch_npu {plugin}",
                "torch_npu works with exactly one version of torch: importing either fails, or operators are missing",
                f"pip install torch=={_base(plugin)} torch_npu=={plugin}",
            )
        ]
    found = [_against_cann(torch, plugin, cann)]
    row = TABLE.get(release)
    if row and row.pythons and not row.pythons[0] <= machine.python <= row.pythons[1]:
        oldest, newest = (".".join(map(str, version)) for version in row.pythons)
        found.append(
            warning(
                "npu python",
                f"Python {'.'.join(map(str, machine.python))} with torch_npu {plugin}",
                f"it is published for Python {oldest} to {newest} ({TABLE_SOURCE})",
                f"make an environment with Python {newest}",
            )
        )
    return found


def _missing_plugin(machine: Machine, release: str, cann: Cann | None) -> Finding:
    row = TABLE.get(release)
    pair = f"torch=={RECOMMENDED[0]} torch_npu=={RECOMMENDED[0]} with CANN {RECOMMENDED[1]}"
    fix = f"pip install {pair}, the recommended pair" if row is None else f"pip install torch_npu=={_best(row, cann)}"
    return problem("npu versions", f"torch {release} without torch_npu", "torch alone cannot use an Ascend card", fix)


def _best(row: VersionRow, cann: Cann | None) -> str:
    """Return the torch_npu release for this CANN, else the newest."""
    fitting = [release for release, wanted in row.cann.items() if cann and cann.version and _same(cann.version, wanted)]
    return (fitting or list(row.cann))[-1]


def _against_cann(torch: str, plugin: str, cann: Cann | None) -> Finding:
    row = TABLE.get(_release(torch))
    installed = cann.version if cann else None
    seen = f"torch {torch}, torch_npu {plugin}, CANN {installed or 'unknown'}"
    wanted = row.cann.get(_release(plugin), "") if row else ""
    if row is None or not wanted or installed is None:
        why = "CANN's version is unknown" if row and wanted else "the source lists no CANN for this pair"
        return skipped("npu versions", seen, f"cannot be compared: {why} ({TABLE_SOURCE})")
    if _same(installed, wanted):
        return ok("npu versions", f"{seen}: they are compatible")
    fitting = [release for release, for_cann in row.cann.items() if _same(installed, for_cann)]
    fix = f"pip install torch_npu=={fitting[-1]}" if fitting else f"install CANN {wanted} and source its set_env.sh"
    return warning(
        "npu versions",
        seen,
        f"this torch_npu is for CANN {wanted} ({TABLE_SOURCE}); with another version, importing torch_npu can fail "
        "with an undefined symbol, or operators with error 561103",
        fix,
    )


def _release(version: str | None) -> str:
    """Return the version without the part after a plus sign: ``2.13.0`` for ``2.13.0+cpu``."""
    return (version or "").split("+")[0]


def _base(plugin: str) -> str:
    return _release(plugin).split(".post")[0]


def _same(installed: str, wanted: str) -> bool:
    """Return whether two versions of CANN belong to the same series, such as ``8.3.RC2`` and ``8.3.RC1``."""
    return installed.split(".")[:2] == wanted.split(".")[:2]
