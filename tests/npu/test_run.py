"""The commands on an NPU: what they train, resume and answer there is what they do on a CPU."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from earmark.cli.main import main
from tests.npu.conftest import ROOT, Census, Npu
from tests.tiny import overrides, write_tones

pytestmark = pytest.mark.slow
IS_WHEEL = os.environ.get("EARMARK_TEST_NPU") == "wheel"
STEPS = 6
# fp32 on both; the stand-in's arithmetic is the CPU's, sums are taken in another order
TOLERANCE = 1e-5
# the stand-in has torch's gradient scaler, which inverts its one number in float64; torch_npu's does not
OF_TORCHS_SCALER = "aten::reciprocal.out|Double,Double"
# an Ascend 910A, to the stand-in and to the real torch_npu
WITHOUT_BF16 = {"NPU_STANDIN_BF16": "0", "STUB_CANN_SOC": "Ascend910A"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("tones"), per_class=8)


def words(data: Path, output: Path, kind: str = "wav2vec2", **settings: object) -> list[str]:
    """A short training run without chance, saved at every second step."""
    chance = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "feat_proj_dropout": 0.0}
    chance |= {"final_dropout": 0.0, "mask_time_prob": 0.0}
    configured = json.loads(overrides(kind)) | (chance if kind == "wav2vec2" else {"dropout": 0.0})
    given: dict[str, object] = {
        "data_dir": data,
        "output_dir": output,
        "model_type": kind,
        "config_overrides": json.dumps({} if kind == "tc_resnet" else configured),
        "max_steps": STEPS,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "save_steps": 2,
        "save_total_limit": 9,
        "load_best_model_at_end": False,
        "overwrite_output_dir": True,
    }
    return ["train", *(word for name, value in (given | settings).items() for word in (f"--{name}", str(value)))]


def losses(run: Path) -> list[float]:
    history = json.loads((run / f"checkpoint-{STEPS}" / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


def weights(run: Path) -> np.ndarray:
    held = load_file(run / "model.safetensors")
    return np.concatenate([held[name].ravel() for name in sorted(held)])


def metrics(run: Path) -> dict[str, Any]:
    return json.loads((run / "metrics.json").read_text())["validation"]


def types_of(census: Census, operator: str) -> set[str]:
    """The types of tensors that an operator was called with: ``{"Float", "BFloat16"}``."""
    calls = [call.partition("|") for call in census.operators]
    return {one for name, _, types in calls if name.startswith(operator) for one in types.split(",")}


def error_in(said: str) -> str:
    """The one line that a command ended with, among what torch_npu says by itself."""
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if line.startswith("earmark: ")]
    assert line.startswith("earmark: error: ")
    return line.removeprefix("earmark: error: ")


def check_all_ran_on_the_device(census: Census) -> None:
    """Every operator has a kernel on an NPU, and none computed in float64, which NPUs are slow in or lack."""
    assert sum(census.operators.values()) > 50
    assert not census.unregistered
    assert not [call for call in census.operators if "Double" in call and call != OF_TORCHS_SCALER]


@pytest.fixture(scope="module")
def fp32_started(npu: Npu, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Census]:
    """A run on ``npu:0``, what it said, and what it did on the device."""
    run = tmp_path_factory.mktemp("fp32") / "run"
    npu.census()
    said = npu.earmark(*words(data, run, precision="fp32", device="npu:0"))
    return run, said, npu.census()  # at once, before another test takes it


@pytest.fixture(scope="module")
def fp32_run(fp32_started: tuple[Path, str, Census]) -> tuple[Path, str]:
    """A run on ``npu:0`` and what it said."""
    return fp32_started[:2]


@pytest.mark.skipif(IS_WHEEL, reason="the stubs have no profiler")
def test_a_profile(npu: Npu, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    npu.earmark(*words(data, run, "whisper", profile=2))
    figures = json.loads((run / "profile" / "profile.json").read_text(encoding="utf-8"))
    assert figures["times_are_of"] == "device"
    parts = {row["part"]: row for row in figures["parts"]}
    assert {"attention", "MLP", "norms", "optimizer", "idle device"} <= parts.keys()
    assert parts["MLP"]["flop_per_step"] > 0
    assert sum(row["share_of_time"] for row in parts.values()) == pytest.approx(1, abs=0.05)


@pytest.fixture(scope="module")
def fp32_census(fp32_started: tuple[Path, str, Census]) -> Census:
    """What that run did on the device."""
    return fp32_started[2]


def test_fp32_trains_what_a_cpu_trains(fp32_run: tuple[Path, str], data: Path, tmp_path: Path) -> None:
    run, log = fp32_run
    assert "device: npu:0, Ascend910B2, training in fp32 with adamw_torch_fused" in log
    assert main(words(data, tmp_path / "cpu", precision="fp32", device="cpu")) == 0
    assert len(losses(run)) == STEPS
    np.testing.assert_allclose(losses(run), losses(tmp_path / "cpu"), atol=TOLERANCE)
    np.testing.assert_allclose(weights(run), weights(tmp_path / "cpu"), atol=TOLERANCE)
    assert metrics(run)["accuracy"] == metrics(tmp_path / "cpu")["accuracy"]
    assert metrics(run)["loss"] == pytest.approx(metrics(tmp_path / "cpu")["loss"], abs=TOLERANCE)


def test_all_of_it_ran_on_the_device(fp32_census: Census) -> None:
    check_all_ran_on_the_device(fp32_census)


def test_the_census_sees_what_it_is_there_for(npu: Npu) -> None:
    npu.census()
    program = "import torch; x = torch.ones(3, dtype=torch.float64, device='npu'); torch.special.i1e((x + x).float())"
    npu.python("-c", program)
    census = npu.census()
    assert types_of(census, "aten::add") == {"Double"}
    # the stand-in has every operator
    assert census.unregistered == ({"aten::special_i1e.out"} if IS_WHEEL else set())


def test_settings_of_an_npu_are_made_and_told(fp32_run: tuple[Path, str], fp32_census: Census) -> None:
    assert fp32_census.settings == {"jit_compile": False, "allow_internal_format": False}
    log = fp32_run[1]
    assert log.count("npu: ") == 1
    for setting in (
        "jit_compile off",
        "allow_internal_format off",
        "PYTORCH_NPU_ALLOC_CONF=expandable_segments:True",
        "TASK_QUEUE_ENABLE=2",
        "CPU_AFFINITY_CONF=1",
    ):
        assert setting in log


def test_a_run_that_is_gone_on_with_ends_with_the_same_bits(
    fp32_run: tuple[Path, str], npu: Npu, data: Path, tmp_path: Path
) -> None:
    settings = {"precision": "bf16", "device": "npu:0", "config_overrides": overrides("wav2vec2")}  # with dropout
    npu.census()
    log = npu.earmark(*words(data, tmp_path / "whole", **settings))
    assert "training in bf16 with adamw_torch_fused" in log
    census = npu.census()
    check_all_ran_on_the_device(census)
    assert "BFloat16" in types_of(census, "aten::addmm") | types_of(census, "aten::linear")
    assert types_of(census, "aten::_fused_adamw_") == {"Float"}  # weights and moments stay in float32
    npu.earmark(*words(data, tmp_path / "rest", **settings, resume_from_checkpoint=tmp_path / "whole" / "checkpoint-4"))
    assert np.array_equal(weights(tmp_path / "whole"), weights(tmp_path / "rest"))
    assert losses(tmp_path / "whole")[4:] == losses(tmp_path / "rest")[4:]
    assert not np.array_equal(weights(tmp_path / "whole"), weights(fp32_run[0]))


def test_fp16_trains_with_a_scaler_where_there_is_no_bf16(npu: Npu, data: Path, tmp_path: Path) -> None:
    npu.census()
    whole, rest = tmp_path / "whole", tmp_path / "rest"
    log = npu.earmark(*words(data, whole, "whisper", device="npu"), **WITHOUT_BF16)
    assert "training in fp16 with adamw_torch\n" in log
    census = npu.census()
    check_all_ran_on_the_device(census)
    assert "Half" in types_of(census, "aten::addmm") | types_of(census, "aten::linear")
    assert (whole / f"checkpoint-{STEPS}" / "scaler.pt").is_file()
    assert np.isfinite(losses(whole)).all()
    npu.earmark(
        *words(data, rest, "whisper", device="npu", resume_from_checkpoint=whole / "checkpoint-4"), **WITHOUT_BF16
    )
    assert np.array_equal(weights(whole), weights(rest))


def test_two_cards_train_what_one_does(fp32_run: tuple[Path, str], npu: Npu, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    npu.census()
    settings = {"precision": "fp32", "device": "npu", "per_device_train_batch_size": 2}
    log = npu.earmark(*words(data, run, **settings), "--num_processes", "2")
    assert "device: npu:0, Ascend910B2, training in fp32 with adamw_torch_fused" in log
    check_all_ran_on_the_device(npu.census())
    np.testing.assert_allclose(losses(run), losses(fp32_run[0]), atol=2 * TOLERANCE)
    np.testing.assert_allclose(weights(run), weights(fp32_run[0]), atol=2 * TOLERANCE)
    assert metrics(run)["accuracy"] == metrics(fp32_run[0])["accuracy"]


def test_more_processes_than_cards_is_one_line(npu: Npu, data: Path, tmp_path: Path) -> None:
    said = npu.earmark(*words(data, tmp_path / "run", device="npu"), "--num_processes", "3", fails=True)
    assert error_in(said).startswith("--num_processes 3: this machine has 2 npu devices")


def test_a_score_is_that_of_a_cpu(fp32_run: tuple[Path, str], npu: Npu, data: Path, tmp_path: Path) -> None:
    asked = ["evaluate", str(fp32_run[0]), "--data_dir", str(data)]
    npu.census()
    npu.earmark(*asked, "--device", "npu:1", "--output_dir", str(tmp_path / "npu"))
    check_all_ran_on_the_device(npu.census())
    assert main([*asked, "--device", "cpu", "--output_dir", str(tmp_path / "cpu")]) == 0
    there, here = metrics(tmp_path / "npu"), metrics(tmp_path / "cpu")
    assert there["accuracy"] == here["accuracy"]
    assert there["loss"] == pytest.approx(here["loss"], abs=1e-2)  # bf16 on the device


def test_predictions_are_those_of_a_cpu(fp32_run: tuple[Path, str], npu: Npu, data: Path, tmp_path: Path) -> None:
    run = fp32_run[0]
    recordings = str(data / "validation")
    npu.earmark("predict", str(run), recordings, "--device", "npu:1", "--output", str(tmp_path / "npu.csv"))
    assert main(["predict", str(run), recordings, "--device", "cpu", "--output", str(tmp_path / "cpu.csv")]) == 0
    rows = [(tmp_path / f"{name}.csv").read_text().splitlines() for name in ("npu", "cpu")]
    assert len(rows[0]) == len(rows[1]) > 2
    for one, other in zip(*rows, strict=True):
        assert one.rsplit(",", 1)[0] == other.rsplit(",", 1)[0]


# a device whose kernel for one operator is wrong: in the types whose names argv[1] lists
WRONG_GELU = """
import sys
import torch
import torch.nn.functional as F
from earmark.cli.main import main

wrong = sys.argv.pop(1).split(",")

def gelu(values, *, approximate="none"):
    output = F.gelu(values.detach().cpu(), approximate=approximate).to(values.device)
    return output.flip(-1) if str(values.dtype) in wrong else output

library = torch.library.Library("aten", "IMPL")
library.impl("gelu", gelu, "PrivateUse1")
sys.exit(main(sys.argv[1:]))
"""
FIRST_GELU = "the first layer that differs is wav2vec2.feature_extractor.conv_layers.0.activation (GELU"


@pytest.mark.parametrize(
    ("types", "precision", "begins"),
    [
        ("torch.bfloat16", "bf16", "--precision bf16: bfloat16 on npu:0: compared with float32"),
        ("torch.float32,torch.bfloat16", "fp32", "npu:0: this device computes the model wrongly in float32: compared"),
    ],
)
def test_a_device_that_computes_one_operator_wrongly(
    types: str, precision: str, begins: str, npu: Npu, data: Path, tmp_path: Path
) -> None:
    asked = words(data, tmp_path / "run", precision=precision, device="npu:0", eval_strategy="no")
    error = error_in(npu.python("-c", WRONG_GELU, types, *asked, fails=True))
    assert error.startswith(begins)
    assert FIRST_GELU in error


def test_a_device_that_is_wrong_in_bfloat16_trains_in_float32(npu: Npu, data: Path, tmp_path: Path) -> None:
    asked = words(data, tmp_path / "run", device="npu:0", eval_strategy="no")
    said = npu.python("-c", WRONG_GELU, "torch.bfloat16", *asked)
    assert "training in bf16" in said
    assert FIRST_GELU in said
    assert "training continues in float32" in said


def test_predictions_of_a_device_that_is_wrong(fp32_run: tuple[Path, str], npu: Npu, data: Path) -> None:
    asked = ["predict", str(fp32_run[0]), str(data / "validation"), "--device", "npu:0", "--precision", "bf16"]
    error = error_in(npu.python("-c", WRONG_GELU, "torch.bfloat16", *asked, fails=True))
    assert error.startswith("bfloat16 on npu:0: this device computes the model wrongly in this precision")
    assert FIRST_GELU in error


_TWO_CLASSIFIERS = """
import earmark
import numpy as np
from tests.predict.test_shared_classifier import build
from tests.tiny import RATE_HZ, tone

audio, clip = build("whisper"), tone(440, 0.3)
classifiers = [earmark.Classifier(audio, device=device) for device in ("cpu", "npu:0", "npu:1")]
rows = [one.predict_proba(clip, sampling_rate=RATE_HZ) for one in classifiers]
np.testing.assert_allclose(rows, np.broadcast_to(rows[0], (3, *rows[0].shape)), atol=1e-5)
print(*(next(one.scorer.model.parameters()).device for one in classifiers))
"""


def test_classifiers_of_one_model_on_several_devices(npu: Npu) -> None:
    assert npu.python("-c", _TWO_CLASSIFIERS).splitlines()[-1] == "cpu npu:0 npu:1"


def test_tensors_of_the_cpu_and_of_the_npu_are_not_mixed(npu: Npu) -> None:
    said = npu.python("-c", "import torch; torch.ones(2, device='npu') + torch.ones(2)", fails=True)
    assert "found at least two devices, npu:0 and cpu!" in said


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--device", "npu:9"], "this machine has 2 npu devices"),
        (["--device", "cuda"], "torch found no cuda device"),
        (["--device", "npu", "--optim", "adamw_torch_npu_fused"], "Use adamw_torch_fused"),
        (["--device", "npu", "--precision", "bf16", "--fp16", "True"], "Keep one"),
        (["--device", "npu", "--use_cpu"], "--use_cpu and --device npu contradict each other"),
    ],
)
def test_what_cannot_be_is_one_line(flags: list[str], reason: str, npu: Npu, data: Path, tmp_path: Path) -> None:
    asked = [word for word in words(data, tmp_path / "run") if word not in ("--device",)]
    said = npu.earmark(*asked, *flags, fails=True)
    assert reason in error_in(said)


def test_a_torch_npu_that_does_not_load_is_one_line(data: Path, tmp_path: Path, npu: Npu) -> None:
    broken = tmp_path / "site"
    (broken / "torch_npu").mkdir(parents=True)
    text = "raise ImportError('libhccl.so: cannot open shared object file: No such file or directory')\n"
    (broken / "torch_npu" / "__init__.py").write_text(text)
    (broken / "torch_npu-2.13.0.dist-info").mkdir()
    (broken / "torch_npu-2.13.0.dist-info" / "METADATA").write_text("Name: torch_npu\nVersion: 2.13.0\n")
    entry = "[torch.backends]\ntorch_npu = torch_npu:_autoload\n"
    (broken / "torch_npu-2.13.0.dist-info" / "entry_points.txt").write_text(entry)
    path = f"{broken}:{ROOT / 'src'}:{ROOT}"
    said = npu.earmark(*words(data, tmp_path / "run", device="cpu"), fails=True, PYTHONPATH=path)
    assert error_in(said).startswith("torch_npu is installed and does not load (libhccl.so")
    assert "earmark doctor --device npu" in error_in(said)
    npu.earmark(
        *words(data, tmp_path / "run", device="cpu", precision="fp32"),
        PYTHONPATH=path,
        TORCH_DEVICE_BACKEND_AUTOLOAD="0",
    )
