"""Check what an Ascend card needs below torch: driver, ``npu-smi``, CANN with operators and libraries, settings.

Paths follow Huawei's installation guides: the driver's device nodes and ``version.info``; CANN under
``/usr/local/Ascend`` (``cann`` since 8.5, ``ascend-toolkit/latest`` before) or ``~/Ascend``.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from earmark.doctor.findings import Finding, ok, problem, skipped, warning
from earmark.doctor.machine import Machine
from earmark.doctor.vendor_tool import ask_tool, tool_failed
from earmark.faults import explain
from earmark.text import counted

LIBRARIES = ("libhccl", "libascendcl", "libacl_op_compiler", "libge_runner", "libgraph", "libacl_tdt_channel")
DRIVER_LIBRARY = "libascend_hal"

DEVICE = "davinci"  # prefix of device nodes: /dev/davinci0
_MANAGERS = ("/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc")
_HOMES = ("/usr/local/Ascend", "~/Ascend")
_DRIVER = "/usr/local/Ascend/driver"
_LINKER_FOLDERS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64")
_CONNECT_TIMEOUT_S = range(120, 7201)  # values accepted by HCCL (EI0001)
# a row of `npu-smi info` that describes a chip: number, name, health
_SMI_ROW = re.compile(r"^\|\s*(\d+)\s+(\w*[A-Za-z][\w-]*)\s*\|\s*(\w+)\s*\|", re.MULTILINE)


@dataclass(frozen=True)
class Cann:
    """An installation of CANN.

    Attributes:
        home: its folder.
        version: its version, such as ``8.5.0`` or ``8.3.RC1``; ``None`` if unknown.
        is_set: whether the environment points to it.
    """

    home: Path
    version: str | None
    is_set: bool


def is_ascend(machine: Machine) -> bool:
    """Return whether anything suggests that an Ascend card is used here."""
    places = [_DRIVER, *(f"{home}/{name}" for home in _HOMES for name in ("cann", "ascend-toolkit", "nnae"))]
    installed = machine.version("torch_npu") is not None or "ASCEND_HOME_PATH" in machine.environment
    return installed or bool(machine.card_numbers(DEVICE)) or machine.first(*places) is not None


def find_cann(machine: Machine) -> Cann | None:
    """Return the CANN named by the environment, else the one in the usual folders."""
    variables = ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME")
    named = [machine.environment[name] for name in variables if name in machine.environment]
    usual = [f"{home}/{name}" for home in _HOMES for name in ("cann", "ascend-toolkit/latest", "nnae/latest")]
    for place in (*named, *usual):
        home = machine.path(place)
        if os.path.isdir(home):
            return Cann(home, _cann_version(home, machine.architecture), is_set=place in named)
    return None


def _cann_version(home: Path, architecture: str) -> str | None:
    for name in ("ascend_toolkit_install.info", "ascend_nnae_install.info"):
        for place in (home / name, home / f"{architecture}-linux" / name):
            match = re.search(r"^version=(\S+)", _read(place), re.MULTILINE)
            if match:
                return match.group(1)
    named = re.search(r"(\d+\.\d+\.\w+)$", home.resolve().name)  # cann-9.1.0, ascend-toolkit/8.3.RC1
    return named.group(1) if named else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""  # a missing or unreadable file counts as empty


def driver_version(machine: Machine) -> str | None:
    """Return the version of the driver from its version file."""
    match = re.search(r"^Version=(\S+)", _read(machine.path(f"{_DRIVER}/version.info")), re.MULTILINE | re.IGNORECASE)
    return match.group(1) if match else None


def check_driver(machine: Machine) -> Finding:
    """Check the driver's device nodes: present, complete, accessible to this user."""
    name, cards = "npu driver", machine.card_numbers(DEVICE)
    version = driver_version(machine)
    if not cards:
        installed = f"driver {version} is installed, but " if version else ""
        return problem(
            name,
            f"{installed}there is no /dev/davinci0",
            "no Ascend card can be used: there is none, its driver is not loaded, or this container has no access",
            "on the host: run npu-smi info, and install the driver if that fails; containers: --device /dev/davinci0 "
            "--device /dev/davinci_manager --device /dev/devmm_svm --device /dev/hisi_hdc",
        )
    seen = f"cards {', '.join(map(str, cards))}" + (f", driver {version}" if version else "")
    missing = [node for node in _MANAGERS if not os.path.exists(machine.path(node))]
    if missing:
        return problem(
            name,
            f"{seen}, but no {', '.join(missing)}",
            "cards cannot be opened without these nodes",
            "containers: " + " ".join(f"--device {node}" for node in missing) + "; otherwise load the driver again",
        )
    closed = [f"/dev/davinci{card}" for card in cards if not _is_open(machine.path(f"/dev/davinci{card}"))]
    if closed:
        return problem(
            name,
            f"{seen}, but this user cannot open {', '.join(closed)}",
            "torch_npu will find no card, or fail when it opens one",
            "sudo usermod -aG HwHiAiUser $USER, then log in again",
        )
    return ok(name, seen)


def _is_open(node: Path) -> bool:
    return os.access(node, os.R_OK | os.W_OK)


def check_visible(machine: Machine) -> list[Finding]:
    """Check that the cards in ``ASCEND_RT_VISIBLE_DEVICES`` exist."""
    asked = machine.environment.get("ASCEND_RT_VISIBLE_DEVICES")
    cards = machine.card_numbers(DEVICE)
    if asked is None or not cards:
        return []
    known = [str(number) for number in range(len(cards))]
    if all(entry.strip() in known for entry in asked.split(",")):
        return [ok("npu choice", f"ASCEND_RT_VISIBLE_DEVICES={asked}")]
    return [
        problem(
            "npu choice",
            f"ASCEND_RT_VISIBLE_DEVICES={asked}, but this machine has {counted(len(cards), 'card')}",
            "torch_npu sees no card, or fewer than expected",
            f"export ASCEND_RT_VISIBLE_DEVICES={','.join(known)}, or unset it",
        )
    ]


def check_npu_smi(machine: Machine) -> Finding:
    """Check the cards with the vendor's tool."""
    name = "npu-smi"
    source = "it comes with the driver (/usr/local/bin/npu-smi); containers: mount the command and /usr/local/dcmi"
    answer = ask_tool(machine, name, ["info"], source)
    if isinstance(answer, Finding):
        return answer
    if answer.code != 0:
        return tool_failed(name, answer)
    chips = _SMI_ROW.findall(answer.output)
    sick = [f"{number} {chip}: {health}" for number, chip, health in chips if health != "OK"]
    if sick:
        return problem(
            name,
            "; ".join(sick),
            "a card reports a fault",
            f"npu-smi info -t health -i {sick[0].split()[0]} shows the fault; restart the machine, or have the card "
            "repaired",
        )
    if not chips:
        fix = "check dmesg | grep -i davinci, and reinstall the driver"
        return problem(name, "lists no card", "the driver found none", fix)
    kinds = sorted({chip for _, chip, _ in chips})
    return ok(name, f"{len(chips)} x {', '.join(kinds)}, healthy")


def check_cann(machine: Machine) -> Finding:
    """Check CANN's folder, version and environment."""
    cann = find_cann(machine)
    if cann is None:
        wrong = machine.environment.get("ASCEND_HOME_PATH")
        return problem(
            "cann",
            f"ASCEND_HOME_PATH={wrong}: no such folder" if wrong else "not found under /usr/local/Ascend or ~/Ascend",
            "torch_npu needs CANN; without it even `import torch` fails",
            "install Ascend-cann-toolkit and the operators of your chip, in a version that docs/doctor.md lists, then "
            "source its set_env.sh",
        )
    seen = f"{cann.version or 'version unknown'} in {machine.shown(cann.home)}"
    if cann.is_set:
        return ok("cann", seen)
    return problem(
        "cann",
        f"{seen}, but ASCEND_HOME_PATH is not set",
        "CANN is installed but not set up in this shell",
        f"source {_set_env(machine, cann)}",
    )


def _set_env(machine: Machine, cann: Cann) -> str:
    places = (cann.home / "set_env.sh", cann.home.parent / "set_env.sh")
    return machine.shown(next((place for place in places if os.path.isfile(place)), places[0]))


def check_operators(machine: Machine, cann: Cann | None) -> list[Finding]:
    """Check the folder of CANN's operators (OPP), and that it has compiled operators."""
    named = machine.environment.get("ASCEND_OPP_PATH")
    if named:
        folder = machine.path(named)
    elif cann is not None:
        folder = cann.home / "opp"
    else:
        return []
    if not os.path.isdir(folder):
        return [
            problem(
                "cann operators",
                f"{machine.shown(folder)} does not exist",
                "no operator can run on the card",
                "install the operators of your chip and source CANN's set_env.sh again",
            )
        ]
    kernels = sorted(path.name for path in folder.glob("built-in/op_impl/ai_core/tbe/kernel/ascend*"))
    if kernels:
        return [ok("cann operators", f"{machine.shown(folder)}, compiled for {', '.join(kernels)}")]
    return [
        warning(
            "cann operators",
            f"{machine.shown(folder)} has no compiled operators",
            "every operator is compiled on first use, which takes minutes, or is not found (error 561003)",
            "install Ascend-cann-kernels-<chip> (CANN up to 8.3) or Ascend-cann-<chip>-ops (8.5 and later)",
        )
    ]


def check_libraries(machine: Machine, cann: Cann | None) -> Finding:
    """Check that the loader finds the six CANN libraries that torch_npu links to, and the driver's library."""
    name, folders = "npu libraries", _loader_folders(machine)
    wanted = [f"{library}.so" for library in (*LIBRARIES, DRIVER_LIBRARY)]
    missing = [library for library in wanted if not any(os.path.exists(folder / library) for folder in folders)]
    if not missing:
        return ok(name, f"all {len(wanted)} found by the loader")
    if missing == [f"{DRIVER_LIBRARY}.so"]:
        told = explain(f"{missing[0]}: cannot open shared object file")
        assert told is not None, "the table of faults has this one"
        return problem(name, f"{missing[0]} not found", told.means, told.fix)
    inside = cann is not None and any(os.path.exists(cann.home / "lib64" / library) for library in missing)
    fix = f"source {_set_env(machine, cann)}" if cann is not None else "install CANN and source its set_env.sh"
    return problem(
        name,
        f"not on the loader's path: {', '.join(missing)}",
        "`import torch` will fail while torch_npu is installed"
        + ("; CANN has them, but LD_LIBRARY_PATH does not include them" if inside else ""),
        fix,
    )


def _loader_folders(machine: Machine) -> list[Path]:
    listed = [
        line.strip()
        for file in [machine.path("/etc/ld.so.conf"), *machine.glob("/etc/ld.so.conf.d/*.conf")]
        for line in _read(file).splitlines()
        if line.startswith("/")
    ]
    multiarch = [f"{folder}/{machine.architecture}-linux-gnu" for folder in ("/lib", "/usr/lib")]
    return [
        machine.path(name) for name in (*machine.path_list("LD_LIBRARY_PATH"), *listed, *multiarch, *_LINKER_FOLDERS)
    ]


def check_settings(machine: Machine) -> list[Finding]:
    """Check environment variables of torch_npu and HCCL for conflicts and invalid values."""
    environment, found = machine.environment, []
    if "PYTORCH_ALLOC_CONF" in environment and "PYTORCH_NPU_ALLOC_CONF" in environment:
        told = explain("Both PYTORCH_NPU_ALLOC_CONF and PYTORCH_ALLOC_CONF have been set")
        assert told is not None, "the table of faults has this one"
        found.append(problem("npu memory", "both ..._ALLOC_CONF variables are set", told.means, told.fix))
    if environment.get("TORCH_DEVICE_BACKEND_AUTOLOAD") == "0":
        found.append(
            warning(
                "npu autoload",
                "TORCH_DEVICE_BACKEND_AUTOLOAD=0",
                "`import torch` does not load torch_npu, so programs that do not import it themselves see no card",
                "unset TORCH_DEVICE_BACKEND_AUTOLOAD",
            )
        )
    value = environment.get("HCCL_CONNECT_TIMEOUT")
    if value is not None and not (value.isdecimal() and int(value) in _CONNECT_TIMEOUT_S):
        found.append(
            problem(
                "hccl settings",
                f"HCCL_CONNECT_TIMEOUT={value}",
                "HCCL rejects this value (EI0001); it accepts whole seconds from 120 to 7200",
                "export HCCL_CONNECT_TIMEOUT=1200",
            )
        )
    return found or [ok("npu settings", "no conflicts")]


def nothing_here() -> Finding:
    """Return the finding for a machine without an Ascend card."""
    return skipped("npu", "no Ascend card, driver or torch_npu here")
