from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from earmark.doctor.ascend import Cann
from earmark.doctor.versions import (
    NEWEST_PYTHON,
    OLDEST_PYTHON,
    TABLE,
    check_python,
    check_requirements,
    check_torch_npu,
)
from tests.doctor.trees import machine


def cann(version: str | None) -> Cann:
    return Cann(Path("/usr/local/Ascend/cann"), version, is_set=True)


@pytest.mark.parametrize(
    ("torch", "plugin", "toolkit"),
    [("2.12.0", "2.12.0", "9.1.0"), ("2.6.0+cpu", "2.6.0.post3", "8.3.RC2"), ("2.9.0", "2.9.0.post6", "9.1.0")],
)
def test_versions_that_belong_together(tmp_path: Path, torch: str, plugin: str, toolkit: str) -> None:
    (found,) = check_torch_npu(machine(tmp_path, torch=torch, torch_npu=plugin), cann(toolkit))
    assert found.status == "ok"
    assert "they are compatible" in found.seen


def test_a_plugin_of_another_torch(tmp_path: Path) -> None:
    (found,) = check_torch_npu(machine(tmp_path, torch="2.13.0", torch_npu="2.7.1.post2"), cann("8.5.0"))
    assert found.status == "problem"
    assert found.seen == "torch 2.13.0 and torch_npu 2.7.1.post2"
    assert found.fix == "pip install torch==2.7.1 torch_npu==2.7.1.post2"


def test_a_cann_of_another_series(tmp_path: Path) -> None:
    here = machine(tmp_path, torch="2.7.1", torch_npu="2.7.1")
    (found,) = check_torch_npu(here, cann("9.0.0"))
    assert found.status == "warning"
    assert "for CANN 8.3.RC1" in found.means
    assert found.fix == "pip install torch_npu==2.7.1.post4"
    (found,) = check_torch_npu(here, cann("7.0.0"))
    assert found.fix.startswith("install CANN 8.3.RC1")


@pytest.mark.parametrize(
    ("torch", "toolkit", "command"),
    [
        ("2.7.1", "8.5.0", "pip install torch_npu==2.7.1.post2"),
        ("2.7.1", None, "pip install torch_npu==2.7.1.post8"),
        ("2.3.0", "8.5.0", "pip install torch==2.12.0 torch_npu==2.12.0 with CANN 9.1.0, the recommended pair"),
    ],
)
def test_a_missing_plugin(tmp_path: Path, torch: str, toolkit: str | None, command: str) -> None:
    (found,) = check_torch_npu(machine(tmp_path, torch=torch), cann(toolkit))
    assert found.status == "problem"
    assert found.fix == command


def test_what_the_source_does_not_say_is_not_judged(tmp_path: Path) -> None:
    (found,) = check_torch_npu(machine(tmp_path, torch="2.13.0+cpu", torch_npu="2.13.0"), cann("9.1.0"))
    assert found.status == "skipped"
    (found,) = check_torch_npu(machine(tmp_path, torch="2.12.0", torch_npu="2.12.0"), None)
    assert found.status == "skipped"
    assert "CANN's version is unknown" in found.means


def test_a_python_without_wheels(tmp_path: Path) -> None:
    here = dataclasses.replace(machine(tmp_path, torch="2.6.0", torch_npu="2.6.0"), python=(3, 12))
    _, found = check_torch_npu(here, cann("8.2.RC1"))
    assert found.status == "warning"
    assert found.fix == "make an environment with Python 3.11"


def test_the_table_names_each_plugin_after_its_torch() -> None:
    for torch, row in TABLE.items():
        assert all(plugin.split(".post")[0] == torch for plugin in row.cann)


@pytest.mark.parametrize(
    ("python", "status"), [((3, 9), "problem"), ((3, 10), "ok"), ((3, 14), "ok"), ((3, 15), "problem")]
)
def test_python(tmp_path: Path, python: tuple[int, int], status: str) -> None:
    found = check_python(dataclasses.replace(machine(tmp_path), python=python))
    assert found.status == status
    assert found.means == ("" if status == "ok" else "earmark runs on Python 3.10 to 3.14")


def test_the_versions_of_python_are_those_of_the_package() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    supported = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)
    assert [supported[0], supported[-1]] == [f"{major}.{minor}" for major, minor in (OLDEST_PYTHON, NEWEST_PYTHON)]


def test_requirements(tmp_path: Path) -> None:
    training = ["torch>=2.6; extra == 'train'", "transformers>=5.17,<6; extra == 'train'"]
    wanted = [*training, "soundfile>=0.12.1", "av>=14; extra == 'video'"]
    here = machine(tmp_path, torch="2.13.0+cpu", transformers="5.23.0", soundfile="0.13.1")
    assert check_requirements(dataclasses.replace(here, requirements=wanted)).seen == "all 3 that earmark requires"
    here = machine(tmp_path, torch="2.13.0", transformers="4.57.1")
    found = check_requirements(dataclasses.replace(here, requirements=wanted))
    assert found.status == "problem"
    assert found.seen == "transformers 4.57.1, wanted <6,>=5.17; soundfile is not installed"
    assert found.fix == "pip install --upgrade 'transformers<6,>=5.17' 'soundfile>=0.12.1'"
    assert check_requirements(here).status == "skipped"
    here = machine(tmp_path, soundfile="0.13.1")
    assert check_requirements(dataclasses.replace(here, requirements=wanted)).seen == "all 1 that earmark requires"


@pytest.mark.parametrize("build", ["onnxruntime", "onnxruntime_gpu", "onnxruntime_cann", "onnxruntime_openvino"])
def test_a_build_for_another_device_meets_the_requirement(tmp_path: Path, build: str) -> None:
    wanted = ["onnxruntime>=1.22", "soundfile>=0.12.1"]
    versions = {"soundfile": "0.13.1", build: "1.23.0"}
    here = dataclasses.replace(machine(tmp_path, **versions), requirements=wanted)
    assert check_requirements(here).seen == "all 2 that earmark requires"
    here = dataclasses.replace(machine(tmp_path, **versions | {build: "1.20.1"}), requirements=wanted)
    found, name = check_requirements(here), build.replace("_", "-")
    assert found.seen == f"{name} 1.20.1, wanted >=1.22"
    assert found.fix == f"pip install --upgrade '{name}>=1.22'"


def test_other_packages_of_onnx_runtime_do_not_meet_the_requirement(tmp_path: Path) -> None:
    here = machine(tmp_path, onnxruntime_extensions="1.23.0")
    found = check_requirements(dataclasses.replace(here, requirements=["onnxruntime>=1.22"]))
    assert found.seen == "onnxruntime is not installed"
