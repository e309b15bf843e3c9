from __future__ import annotations

from pathlib import Path

import pytest

from earmark.doctor import nvidia
from tests.doctor.trees import NVIDIA_VERSION, machine, write, write_tool


def test_a_machine_with_a_card(tmp_path: Path) -> None:
    write(tmp_path, "/dev/nvidia0")
    write(tmp_path, "/dev/nvidiactl")
    write(tmp_path, "/proc/driver/nvidia/version", NVIDIA_VERSION)
    write_tool(tmp_path, "nvidia-smi", "NVIDIA H100 80GB HBM3, 81559 MiB\n")
    here = machine(tmp_path, {"PATH": "/usr/bin:/bin"}, torch="2.13.0")
    assert nvidia.is_nvidia(here)
    assert nvidia.check_driver(here).seen == "cards 0, driver 570.133.20"
    assert nvidia.check_nvidia_smi(here).seen == "NVIDIA H100 80GB HBM3, 81559 MiB"
    assert nvidia.check_torch_build(here, "13.0", imported=True).status == "ok"
    assert nvidia.check_visible(here) == []


def test_a_driver_without_a_card(tmp_path: Path) -> None:
    write(tmp_path, "/proc/driver/nvidia/version", NVIDIA_VERSION)
    found = nvidia.check_driver(machine(tmp_path))
    assert found.status == "problem"
    assert found.seen == "driver 570.133.20 is loaded, but there is no /dev/nvidia0"


def test_a_torch_for_the_cpu_beside_a_card(tmp_path: Path) -> None:
    for version, imported in (("2.13.0+cpu", False), ("2.13.0", True)):
        found = nvidia.check_torch_build(machine(tmp_path, torch=version), None, imported=imported)
        assert found.status == "problem"
        assert "build for the CPU only" in found.seen
        assert "torch==2.13.0 " in found.fix
    assert nvidia.check_torch_build(machine(tmp_path, torch="2.13.0"), None, imported=False).status == "skipped"


def test_an_update_of_the_driver_without_a_restart(tmp_path: Path) -> None:
    write_tool(tmp_path, "nvidia-smi", "Failed to initialize NVML: Driver/library version mismatch\n", code=18)
    found = nvidia.check_nvidia_smi(machine(tmp_path, {"PATH": "/usr/bin:/bin"}))
    assert found.status == "problem"
    assert found.fix == "restart the machine"


@pytest.mark.parametrize(("value", "status"), [("", "warning"), ("-1", "warning"), ("0,1", "ok")])
def test_cards_that_are_hidden(tmp_path: Path, value: str, status: str) -> None:
    (found,) = nvidia.check_visible(machine(tmp_path, {"CUDA_VISIBLE_DEVICES": value}))
    assert found.status == status


def test_no_trace_of_a_card(tmp_path: Path) -> None:
    assert not nvidia.is_nvidia(machine(tmp_path))
    assert nvidia.check_nvidia_smi(machine(tmp_path)).status == "warning"
