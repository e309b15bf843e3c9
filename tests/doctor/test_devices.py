"""Probes that crash, hang or cannot import, in real processes with a stand-in for torch; and what is made of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from earmark.doctor.children import Probe, run_probe
from earmark.doctor.devices import (
    check_group,
    check_import,
    check_seen,
    check_trainer,
    judge_convolutions,
    judge_device,
)
from earmark.doctor.machine import Answer, Machine
from tests.doctor.trees import the, write
from tests.patience import PATIENCE_S
from tests.test_faults import BROKEN_PLUGIN

FINE = {"device": "npu:0", "matmul_error": 1e-6, "bf16": True, "bf16_error": 3e-3, "losses": [1.1], "cpu_losses": [1.1]}


def with_torch(folder: Path, source: str, **installed: str) -> Machine:
    """This machine, with a torch of this source."""
    write(folder, "torch/__init__.py", source)
    versions = {name.replace("_", "-"): version for name, version in installed.items()}
    return Machine(environment={**os.environ, "PYTHONPATH": str(folder)}, installed=versions)


def ended(code: int | None, errors: str = "", **results: object) -> Probe:
    return Probe(results, Answer(code, "", errors, 3.0))


def test_a_plugin_that_stops_the_import_of_torch(tmp_path: Path) -> None:
    message = BROKEN_PLUGIN.format(library="libhccl.so").splitlines()[5]
    source = f"""
import os, types
if os.environ.get("TORCH_DEVICE_BACKEND_AUTOLOAD") != "0":
    try:
        raise ImportError({message.removeprefix("ImportError: ")!r})
    except ImportError as exc:
        raise RuntimeError("Failed to load the backend extension: torch_npu.") from exc
__version__ = "2.12.0"
version = types.SimpleNamespace(cuda=None, hip=None)
"""
    here = with_torch(tmp_path, source, torch="2.12.0", torch_npu="2.12.0")
    probe = run_probe(here, "torch", timeout_s=PATIENCE_S)
    assert not probe.finished
    found = check_import(here, probe)
    broken = the(found, "import torch")
    assert broken.status == "problem"
    assert broken.seen == message
    assert "does not find CANN" in broken.means
    assert "set_env.sh" in broken.fix
    alone = the(found, "torch alone")
    assert alone.status == "warning"
    assert alone.seen == "torch 2.12.0 imports with TORCH_DEVICE_BACKEND_AUTOLOAD=0"


def test_a_torch_that_is_broken_with_and_without_the_plugin(tmp_path: Path) -> None:
    source = "raise ImportError('libcudnn.so.9: cannot open shared object file: No such file or directory')"
    here = with_torch(tmp_path, source, torch="2.12.0", torch_npu="2.12.0")
    found = check_import(here, run_probe(here, "torch", timeout_s=PATIENCE_S))
    assert [finding.status for finding in found] == ["problem", "problem"]
    assert "CUDA libraries" in found[0].means


def test_a_torch_that_crashes(tmp_path: Path) -> None:
    here = with_torch(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", torch="2.12.0")
    (found,) = check_import(here, run_probe(here, "torch", timeout_s=PATIENCE_S))
    assert found.status == "problem"
    assert found.seen == "ended by SIGSEGV: it printed nothing"
    assert found.fix == "pip install --force-reinstall torch==2.12.0"


def test_a_torch_that_hangs(tmp_path: Path) -> None:
    here = with_torch(tmp_path, "import time; time.sleep(60)", torch="2.12.0")
    (found,) = check_import(here, run_probe(here, "torch", timeout_s=0.5))
    assert found.seen == "no result after 0.5 s"
    assert "the check hangs" in found.means


def test_a_file_called_torch_in_the_working_directory_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "soundfile.py", "raise ImportError('of the working directory')")
    monkeypatch.chdir(tmp_path)
    if sys.version_info < (3, 11):
        pytest.skip("Python 3.10 knows no safe path")
    assert "codecs" in run_probe(Machine(), "codecs", timeout_s=PATIENCE_S).results


def test_no_torch_at_all() -> None:
    (found,) = check_import(Machine(installed={}), ended(1))
    assert (found.status, found.seen) == ("warning", "torch is not installed")
    assert "earmark[train]" in found.fix
    (found,) = check_import(Machine(installed={}), ended(1), asked=True)
    assert found.status == "problem"


def test_cards_that_torch_sees_or_does_not() -> None:
    card = {"device": "npu:0", "name": "Ascend910B2", "bf16": True}
    (found,) = check_seen(ended(0, torch="2.12.0", npu=[card]), "npu", 1, asked=True)
    assert (found.status, found.seen) == ("ok", "npu:0 Ascend910B2")
    (found,) = check_seen(ended(0, torch="2.12.0", npu=[]), "npu", 8, asked=True)
    assert found.status == "problem"
    assert found.seen == "torch sees no npu device, but the driver shows 8 cards"
    assert check_seen(ended(0, torch="2.12.0", cuda=[]), "cuda", 0, asked=False) == []
    warned = ["CUDA initialization: The NVIDIA driver on your system is too old (found version 12080)."]
    (found,) = check_seen(ended(0, torch="2.12.0", cuda=[], cuda_warnings=warned), "cuda", 1, asked=False)
    assert "too old for the CUDA version" in found.means
    failed = "RuntimeError: Initialize: NPU function error: aclInit, error code is 507899"
    (found,) = check_seen(ended(0, torch="2.12.0", npu=[], npu_error=failed), "npu", 1, asked=True)
    assert found.means == "the driver failed"
    (found,) = check_seen(ended(1), "npu", 1, asked=True)
    assert found.status == "skipped"


def test_a_trainer_that_does_not_import() -> None:
    assert check_trainer(ended(0, trainer="Trainer", transformers="5.23.0", accelerate="1.15.0")).status == "ok"
    found = check_trainer(ended(1, BROKEN_PLUGIN.format(library="libascendcl.so"), transformers="5.23.0"))
    assert found.status == "problem"
    assert "libascendcl.so" in found.seen


def test_a_device_that_computes_as_it_should() -> None:
    found = judge_device("npu:0", ended(0, **FINE, backend="hccl", collective=1.0))
    assert [finding.status for finding in found] == ["ok"] * 4
    assert [finding.name for finding in found] == ["npu:0 matmul", "npu:0 bfloat16", "npu:0 training", "npu:0 hccl"]


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"matmul_error": 0.1}, "npu:0 matmul"),
        ({"matmul_error": float("nan")}, "npu:0 matmul"),
        ({"bf16_error": 0.1}, "npu:0 bfloat16"),
        ({"losses": [1.2]}, "npu:0 training"),
        ({"losses": [float("nan")]}, "npu:0 training"),
        ({"collective": 3.0}, "npu:0 hccl"),
    ],
)
def test_a_device_that_computes_wrongly(wrong: dict[str, object], name: str) -> None:
    found = judge_device("npu:0", ended(0, **{**FINE, "backend": "hccl", "collective": 1.0, **wrong}))
    assert [finding.name for finding in found if finding.status == "problem"] == [name]


def test_a_device_without_bfloat16_or_collectives() -> None:
    results = {**FINE, "bf16": False, "bf16_error": None, "backend": "hccl", "collective": None}
    found = judge_device("npu:0", ended(0, **results))
    assert the(found, "npu:0 bfloat16").status == "skipped"
    assert the(found, "npu:0 hccl").status == "warning"
    assert the(judge_device("mps", ended(0, **{**results, "backend": None})), "mps collectives").status == "skipped"


@pytest.mark.parametrize(
    ("got", "stage"),
    [((), "open"), (("device",), "matmul"), (("device", "matmul_error", "bf16", "bf16_error"), "training")],
)
def test_the_stage_that_it_died_in_is_named(got: tuple[str, ...], stage: str) -> None:
    probe = ended(-6, "terminate called\n", **{key: FINE[key] for key in got})
    found = the(judge_device("npu:0", probe), f"npu:0 {stage}")
    assert found.status == "problem"
    assert found.seen == "ended by SIGABRT: terminate called"


@pytest.mark.slow
def test_convolutions_on_this_cpu() -> None:
    """The probe itself: whatever this CPU computes, shapes of published models are right or the finding names them."""
    probe = run_probe(Machine(), "convolutions", "cpu", timeout_s=300)
    assert probe.finished
    assert probe.results["compared"] == ["bfloat16"]
    errors = probe.results["bfloat16"]
    assert len(errors) == 12
    (found,) = judge_convolutions("cpu", probe)
    wrong = [shape for shape, error in errors.items() if error > 0.05]
    assert found.status == ("warning" if wrong else "ok")
    assert found.seen.startswith(f"{len(wrong)} of 12 shapes are wrong" if wrong else "12 shapes")


@pytest.mark.parametrize(("name", "says"), [("cpu", "in float32 on this CPU"), ("npu:0", "before it trains or scores")])
def test_convolutions_that_are_wrong(name: str, says: str) -> None:
    errors = {"8 to 8 channels, kernel 8, stride 8": 0.8, "1 to 512 channels, kernel 10, stride 5": 0.002}
    (found,) = judge_convolutions(name, ended(0, bfloat16=errors, compared=["bfloat16"]))
    assert (found.name, found.status) == (f"{name} bfloat16 conv", "warning")
    assert "1 of 2 shapes are wrong (relative error up to 0.8" in found.seen
    assert "8 to 8 channels, kernel 8, stride 8" in found.seen
    assert says in found.means
    right = judge_convolutions(name, ended(0, bfloat16={"shape": 0.002}, float16={"shape": float("inf")}))
    assert [finding.status for finding in right] == ["ok", "warning"]
    (died,) = judge_convolutions(name, ended(-11, "", device=name))
    assert died.status == "problem"
    assert "SIGSEGV" in died.seen


@pytest.mark.slow
def test_a_group_of_processes() -> None:
    found = check_group(Machine(), ["cpu", "cpu"])
    assert (found.name, found.status, found.seen) == ("cpu group", "ok", "all-reduce over 2 processes, one per device")


def test_hccl_that_times_out_is_explained() -> None:
    errors = "RuntimeError: ERR02200 DIST call hccl api failed.\nEI0006: Getting socket times out.\n"
    found = the(judge_device("npu:0", ended(1, errors, **FINE, backend="hccl")), "npu:0 hccl")
    assert found.status == "problem"
    assert "HCCL_CONNECT_TIMEOUT" in found.fix
