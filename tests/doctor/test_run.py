"""The whole examination, on recorded machines with a stand-in for torch."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from earmark.doctor.examine import Examination, device_kind, environment, examine
from earmark.doctor.findings import count_by_status, render
from earmark.doctor.machine import Machine
from earmark.errors import UsageError
from tests.doctor.trees import NVIDIA_VERSION, machine, the, write, write_ascend

BROKEN = "raise RuntimeError('Failed to load the backend extension: torch_npu. You can disable it')"
# a torch that has two NPUs, until they are computed with
WITH_NPUS = """
import types
__version__ = "2.12.0"
version = types.SimpleNamespace(cuda=None, hip=None)
backends = types.SimpleNamespace()
class device(str):
    def __new__(cls, kind, index=None):
        self = str.__new__(cls, kind if index is None else f"{kind}:{index}")
        self.type, self.index = kind, index
        return self
npu = types.SimpleNamespace(
    is_available=lambda: True, device_count=lambda: 2, get_device_name=lambda device: "Ascend910B4",
    is_bf16_supported=lambda: True, set_compile_mode=lambda **settings: None, config=types.SimpleNamespace(),
)
"""


def with_torch(root: Path, source: str, settings: dict[str, str] | None = None, **installed: str) -> Machine:
    """A recorded machine whose Python has a torch of this source."""
    write(root, "/python/torch/__init__.py", source)
    inherited = {"PYTHONPATH": str(root / "python"), "HF_HUB_OFFLINE": "1", "PATH": os.environ["PATH"]}
    return machine(root, {**inherited, **(settings or {})}, **installed)


def test_a_broken_plugin_on_a_machine_with_cards(tmp_path: Path) -> None:
    settings = write_ascend(tmp_path)
    seen = examine("npu", with_torch(tmp_path, BROKEN, settings, torch="2.13.0", torch_npu="2.12.0"))
    assert seen.num_problems
    assert seen.devices == []
    assert the(seen.findings, "import torch").status == "problem"
    assert the(seen.findings, "npu driver").status == "ok"
    assert the(seen.findings, "npu versions").status == "problem"
    assert the(seen.findings, "npu cards").status == "skipped"
    names = [finding.name for finding in seen.findings]
    assert not any(name.startswith(("cpu", "nvidia")) for name in names)
    assert names[:3] == ["python", "packages", "import torch"]
    assert names[-1] == "hub"
    lines = render(seen.findings).splitlines()
    assert sum(line.startswith("problem ") for line in lines) == count_by_status(seen.findings)["problem"]
    assert f" problem{'s' * (seen.num_problems > 1)}, " in lines[-1]


def test_cards_that_torch_sees_are_tried_one_by_one(tmp_path: Path) -> None:
    here = with_torch(tmp_path, WITH_NPUS, write_ascend(tmp_path), torch="2.12.0", torch_npu="2.12.0")
    seen = examine("npu", here)
    assert seen.devices == ["npu:0", "npu:1"]
    assert the(seen.findings, "npu cards").seen == "npu:0 Ascend910B4; npu:1 Ascend910B4"
    for card in seen.devices:  # the stand-in has no tensors
        assert the(seen.findings, f"{card} matmul").status == "problem"
    assert examine("npu:1", here).devices == ["npu:1"]
    absent = examine("npu:9", here)
    assert absent.devices == []
    assert the(absent.findings, "npu:9").seen == "torch sees npu:0, npu:1"
    assert the(absent.findings, "npu:9").status == "problem"


def test_nvidia_cards_and_the_cuda_that_torch_was_built_for(tmp_path: Path) -> None:
    source = WITH_NPUS.replace("cuda=None", "cuda='13.0'").replace("npu =", "cuda =")
    source = source.replace("is_bf16_supported=lambda:", "is_bf16_supported=lambda including_emulation:")
    here = with_torch(tmp_path, source.replace("Ascend910B4", "NVIDIA H100"), torch="2.13.0")
    seen = examine("cuda", here)
    assert the(seen.findings, "torch build").seen == "torch 2.13.0 for CUDA 13.0"
    assert the(seen.findings, "cuda cards").seen == "cuda:0 NVIDIA H100; cuda:1 NVIDIA H100"
    assert the(seen.findings, "nvidia driver").status == "warning"
    assert the(seen.findings, "cuda group").status == "problem"  # the stand-in has no torch.distributed
    assert seen.devices == ["cuda:0", "cuda:1"]


def test_what_torch_gets_by_without_is_not_a_problem(tmp_path: Path) -> None:
    here = with_torch(tmp_path, WITH_NPUS, torch="2.12.0", torch_npu="2.12.0")
    seen = examine("npu", here)
    assert the(seen.findings, "npu driver").status == "warning"
    assert the(seen.findings, "cann").status == "warning"


def test_without_a_device_whatever_is_here_is_looked_at(tmp_path: Path) -> None:
    seen = examine(None, with_torch(tmp_path, BROKEN, torch="2.13.0+cpu"))
    assert the(seen.findings, "npu").status == "skipped"
    assert the(seen.findings, "nvidia").status == "skipped"
    write(tmp_path, "/dev/nvidia0")
    write(tmp_path, "/proc/driver/nvidia/version", NVIDIA_VERSION)
    seen = examine(None, with_torch(tmp_path, BROKEN, torch="2.13.0+cpu"))
    assert the(seen.findings, "torch build").status == "problem"
    assert the(seen.findings, "npu").status == "skipped"


@pytest.mark.parametrize(
    ("device", "kind"),
    [(None, None), ("auto", None), ("npu", "npu"), ("cuda:3", "cuda"), ("mps", "mps"), ("cpu", "cpu")],
)
def test_the_backend_of_a_device(device: str | None, kind: str | None) -> None:
    assert device_kind(device) == kind


@pytest.mark.parametrize("device", ["gpu", "npu:x", "npu0", ""])
def test_what_is_no_device(device: str) -> None:
    with pytest.raises(UsageError, match="--device"):
        device_kind(device)


def test_the_environment_names_versions_and_no_places(tmp_path: Path) -> None:
    here = machine(tmp_path, write_ascend(tmp_path), torch="2.12.0", torch_npu="2.12.0")
    facts = environment(dataclasses.replace(here, python=(3, 12)))
    assert facts == {
        "system": "Linux aarch64",
        "python": "3.12",
        "torch": "2.12.0",
        "torch_npu": "2.12.0",
        "cann": "8.5.0",
        "npu driver": "24.1.1",
    }


def test_an_examination_without_problems() -> None:
    assert not Examination([], []).num_problems
