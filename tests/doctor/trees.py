"""Recorded machines: trees of files, environments and packages that the checks run on."""

from __future__ import annotations

from pathlib import Path

from earmark.doctor.ascend import DRIVER_LIBRARY, LIBRARIES
from earmark.doctor.findings import Finding
from earmark.doctor.machine import Machine

# `npu-smi info` of a server with 910B4 cards, cut to two
NPU_SMI = """\
+------------------------------------------------------------------------------------------------+
| npu-smi 24.1.1                   Version: 24.1.1                                               |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     910B4               | OK            | 88.2        30                0    / 0             |
| 0                         | 0000:C1:00.0  | 0           0    / 0          26838/ 32768         |
+===========================+===============+====================================================+
| 1     910B4               | OK            | 87.0        30                0    / 0             |
| 0                         | 0000:C2:00.0  | 0           0    / 0          29356/ 32768         |
+===========================+===============+====================================================+
| NPU     Chip              | Process id    | Process name             | Process memory(MB)      |
+===========================+===============+====================================================+
| 0       0                 | 1234          | python                   | 23444                   |
+===========================+===============+====================================================+
"""
# the same of an A3 server: two chips a card, and a physical number in the second row
NPU_SMI_A3 = """\
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip  Phy-ID              | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     Ascend910           | OK            | 178.5       36                0    / 0             |
| 0     0                   | 0000:9D:00.0  | 0           0    / 0          3416 / 65536         |
+------------------------------------------------------------------------------------------------+
| 0     Ascend910           | Warning       | -           36                0    / 0             |
| 1     1                   | 0000:9F:00.0  | 0           0    / 0          3195 / 65536         |
"""
NVIDIA_VERSION = """\
NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.133.20  Release Build  (dvs-builder@U16)  Sun Mar 30
GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)
"""
HOME = "/usr/local/Ascend/ascend-toolkit/latest"


def machine(root: Path, environment: dict[str, str] | None = None, **installed: str) -> Machine:
    """A machine that has nothing but these packages."""
    versions = {name.replace("_", "-"): version for name, version in installed.items()}
    return Machine(root, environment or {}, versions, [], (3, 11), "Linux", "aarch64")


def write(root: Path, name: str, text: str = "", *, mode: int = 0o644) -> Path:
    path = root / name.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def write_tool(root: Path, name: str, output: str, code: int = 0) -> None:
    """A command that prints what was recorded."""
    recorded = write(root, f"/recorded/{name}.txt", output)
    write(root, f"/usr/local/bin/{name}", f"#!/bin/sh\ncat '{recorded}'\nexit {code}\n", mode=0o755)


def write_ascend(root: Path, *, cards: int = 2, cann: str = "8.5.0") -> dict[str, str]:
    """A complete Ascend machine; returns the environment that set_env.sh would give it."""
    for node in (*(f"davinci{i}" for i in range(cards)), "davinci_manager", "devmm_svm", "hisi_hdc"):
        write(root, f"/dev/{node}")
    write(root, "/usr/local/Ascend/driver/version.info", "Version=24.1.1\nascendhal_version=7.35.23\n")
    write_tool(root, "npu-smi", NPU_SMI)
    for library in LIBRARIES:
        write(root, f"{HOME}/lib64/{library}.so")
    write(root, f"/usr/local/Ascend/driver/lib64/driver/{DRIVER_LIBRARY}.so")
    write(root, f"{HOME}/aarch64-linux/ascend_toolkit_install.info", f"package_name=toolkit\nversion={cann}\n")
    write(root, f"{HOME}/opp/built-in/op_impl/ai_core/tbe/kernel/ascend910b/ops.json")
    write(root, "/usr/local/Ascend/ascend-toolkit/set_env.sh")
    return {
        "ASCEND_HOME_PATH": HOME,
        "ASCEND_OPP_PATH": f"{HOME}/opp",
        "LD_LIBRARY_PATH": f"{HOME}/lib64:/usr/local/Ascend/driver/lib64/driver",
    }


def the(findings: list[Finding], name: str) -> Finding:
    """The one finding of that name."""
    (found,) = (finding for finding in findings if finding.name == name)
    return found
