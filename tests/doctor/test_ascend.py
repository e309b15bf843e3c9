from __future__ import annotations

import os
from pathlib import Path

import pytest

from earmark.doctor import ascend, vendor_tool
from earmark.doctor.findings import Finding
from earmark.doctor.machine import Machine
from tests.doctor.trees import HOME, NPU_SMI_A3, machine, the, write, write_ascend, write_tool


def everything(here: Machine) -> list[Finding]:
    cann = ascend.find_cann(here)
    return [
        ascend.check_driver(here),
        *ascend.check_visible(here),
        ascend.check_npu_smi(here),
        ascend.check_cann(here),
        *ascend.check_operators(here, cann),
        ascend.check_libraries(here, cann),
        *ascend.check_settings(here),
    ]


def test_a_complete_machine_has_nothing_to_mend(tmp_path: Path) -> None:
    found = everything(machine(tmp_path, write_ascend(tmp_path)))
    assert [finding.status for finding in found] == ["ok"] * 6
    assert the(found, "npu driver").seen == "cards 0, 1, driver 24.1.1"
    assert the(found, "npu-smi").seen == "2 x 910B4, healthy"
    assert the(found, "cann").seen == f"8.5.0 in {HOME}"
    assert "ascend910b" in the(found, "cann operators").seen
    assert the(found, "npu libraries").seen == "all 7 found by the loader"


def test_a_machine_without_anything(tmp_path: Path) -> None:
    here = machine(tmp_path)
    assert not ascend.is_ascend(here)
    found = everything(here)
    assert the(found, "npu driver").status == "problem"
    assert "there is no /dev/davinci0" in the(found, "npu driver").seen
    assert the(found, "cann").status == "problem"
    libraries = the(found, "npu libraries")
    assert all(f"{name}.so" in libraries.seen for name in (*ascend.LIBRARIES, ascend.DRIVER_LIBRARY))


@pytest.mark.parametrize("sign", ["card", "plugin", "cann", "variable"])
def test_any_sign_of_ascend_is_looked_into(tmp_path: Path, sign: str) -> None:
    environment = {"ASCEND_HOME_PATH": "/opt/cann"} if sign == "variable" else {}
    installed = {"torch_npu": "2.12.0"} if sign == "plugin" else {}
    if sign == "card":
        write(tmp_path, "/dev/davinci3")
    if sign == "cann":
        (tmp_path / "usr/local/Ascend/cann").mkdir(parents=True)
    assert ascend.is_ascend(machine(tmp_path, environment, **installed))


def test_a_container_without_the_manager_nodes(tmp_path: Path) -> None:
    environment = write_ascend(tmp_path)
    (tmp_path / "dev/hisi_hdc").unlink()
    found = ascend.check_driver(machine(tmp_path, environment))
    assert found.status == "problem"
    assert found.fix == "containers: --device /dev/hisi_hdc; otherwise load the driver again"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_a_card_that_is_not_for_this_user(tmp_path: Path) -> None:
    environment = write_ascend(tmp_path)
    (tmp_path / "dev/davinci1").chmod(0)
    found = ascend.check_driver(machine(tmp_path, environment))
    assert found.status == "problem"
    assert "/dev/davinci1" in found.seen
    assert "HwHiAiUser" in found.fix


def test_cann_that_is_not_in_the_environment(tmp_path: Path) -> None:
    write_ascend(tmp_path)
    found = everything(machine(tmp_path, {"LD_LIBRARY_PATH": "/usr/local/Ascend/driver/lib64/driver"}))
    command = "source /usr/local/Ascend/ascend-toolkit/set_env.sh"
    assert the(found, "cann").fix == command
    libraries = the(found, "npu libraries")
    assert libraries.status == "problem"
    assert "LD_LIBRARY_PATH does not include them" in libraries.means
    assert libraries.fix == command
    assert "libascend_hal" not in libraries.seen


def test_a_variable_that_leads_nowhere(tmp_path: Path) -> None:
    found = ascend.check_cann(machine(tmp_path, {"ASCEND_HOME_PATH": "/opt/gone"}))
    assert found.status == "problem"
    assert found.seen == "ASCEND_HOME_PATH=/opt/gone: no such folder"


def test_the_newer_layout_without_a_version_file(tmp_path: Path) -> None:
    (tmp_path / "usr/local/Ascend/cann-9.1.0").mkdir(parents=True)
    (tmp_path / "usr/local/Ascend/cann").symlink_to("cann-9.1.0")
    cann = ascend.find_cann(machine(tmp_path))
    assert cann is not None
    assert cann.version == "9.1.0"
    assert not cann.is_set


def test_only_the_drivers_library_is_missing(tmp_path: Path) -> None:
    environment = write_ascend(tmp_path)
    (tmp_path / "usr/local/Ascend/driver/lib64/driver/libascend_hal.so").unlink()
    here = machine(tmp_path, environment)
    found = ascend.check_libraries(here, ascend.find_cann(here))
    assert found.status == "problem"
    assert found.seen == "libascend_hal.so not found"
    assert "driver" in found.means


def test_the_loaders_configuration_is_read(tmp_path: Path) -> None:
    environment = write_ascend(tmp_path)
    del environment["LD_LIBRARY_PATH"]
    write(tmp_path, "/etc/ld.so.conf.d/ascend.conf", f"{HOME}/lib64\n/usr/local/Ascend/driver/lib64/driver\n")
    here = machine(tmp_path, environment)
    assert ascend.check_libraries(here, ascend.find_cann(here)).status == "ok"


def test_operators_that_are_missing_or_not_compiled(tmp_path: Path) -> None:
    environment = write_ascend(tmp_path)
    cann = ascend.find_cann(machine(tmp_path, environment))
    (tmp_path / HOME[1:] / "opp/built-in").rename(tmp_path / "elsewhere")
    (found,) = ascend.check_operators(machine(tmp_path, environment), cann)
    assert found.status == "warning"
    (found,) = ascend.check_operators(machine(tmp_path, {**environment, "ASCEND_OPP_PATH": "/opt/gone"}), cann)
    assert found.status == "problem"
    assert found.seen == "/opt/gone does not exist"


def test_a_sick_chip_is_a_problem(tmp_path: Path) -> None:
    write_tool(tmp_path, "npu-smi", NPU_SMI_A3)
    found = ascend.check_npu_smi(machine(tmp_path, {"PATH": "/usr/bin:/bin"}))
    assert found.status == "problem"
    assert found.seen == "0 Ascend910: Warning"


def test_a_driver_that_does_not_answer(tmp_path: Path) -> None:
    write_tool(tmp_path, "npu-smi", "dcmi module initialize failed. ret is -8005\n", code=1)
    found = ascend.check_npu_smi(machine(tmp_path, {"PATH": "/usr/bin:/bin"}))
    assert found.status == "problem"
    assert "ret is -8005" in found.seen
    assert "HwHiAiUser" in found.fix


def test_a_driver_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vendor_tool, "_TIMEOUT_S", 0.2)
    write(tmp_path, "/usr/local/bin/npu-smi", "#!/bin/sh\nexec sleep 30\n", mode=0o755)
    found = ascend.check_npu_smi(machine(tmp_path, {"PATH": "/usr/bin:/bin"}))
    assert found.status == "problem"
    assert found.seen == "no result after 0.2 s"
    assert "hangs" in found.means


def test_no_npu_smi_is_only_a_warning(tmp_path: Path) -> None:
    assert ascend.check_npu_smi(machine(tmp_path)).status == "warning"


@pytest.mark.parametrize(("asked", "status"), [("0,1", "ok"), ("1", "ok"), ("2", "problem"), ("0,x", "problem")])
def test_cards_that_are_asked_for(tmp_path: Path, asked: str, status: str) -> None:
    environment = {**write_ascend(tmp_path), "ASCEND_RT_VISIBLE_DEVICES": asked}
    (found,) = ascend.check_visible(machine(tmp_path, environment))
    assert found.status == status


@pytest.mark.parametrize(
    ("environment", "name", "status"),
    [
        ({"PYTORCH_ALLOC_CONF": "a:1", "PYTORCH_NPU_ALLOC_CONF": "a:1"}, "npu memory", "problem"),
        ({"PYTORCH_NPU_ALLOC_CONF": "expandable_segments:True"}, "npu settings", "ok"),
        ({"TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}, "npu autoload", "warning"),
        ({"HCCL_CONNECT_TIMEOUT": "60"}, "hccl settings", "problem"),
        ({"HCCL_CONNECT_TIMEOUT": "soon"}, "hccl settings", "problem"),
        ({"HCCL_CONNECT_TIMEOUT": "1200"}, "npu settings", "ok"),
    ],
)
def test_settings(tmp_path: Path, environment: dict[str, str], name: str, status: str) -> None:
    (found,) = ascend.check_settings(machine(tmp_path, environment))
    assert (found.name, found.status) == (name, status)
