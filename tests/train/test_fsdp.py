"""Weights spread over two processes: the same model as one process trains, saved whole.

The file is also what each of the two runs: accelerate shards on accelerators only and is made to do so on CPUs here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from earmark.cli.main import main
from earmark.errors import UsageError
from earmark.train.for_trainer import check_spread
from tests.distributed.processes import ranks_of
from tests.tiny import ARCHITECTURES
from tests.train.small import NO_CHANCE, mixed_lengths_s, write_clips

DROPOUTS = ("hidden_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout")


def words_of(data: Path, run: Path, batch: int) -> list[str]:
    settings = {**ARCHITECTURES["wav2vec2"], **NO_CHANCE, **dict.fromkeys(DROPOUTS, 0.0)}
    words = ["train", "--data_dir", str(data), "--model_type", "wav2vec2", "--config_overrides", json.dumps(settings)]
    words += ["--device", "cpu", "--output_dir", str(run), "--freeze", "none", "--learning_rate", "1e-3"]
    words += ["--per_device_train_batch_size", str(batch), "--global_batch_size", "8", "--num_train_epochs", "2"]
    return [*words, "--per_device_eval_batch_size", "1"]


def shard_on_cpus() -> None:
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType

    plain = AcceleratorState.__init__

    def with_fsdp(self: Any, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
        plain(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if fsdp_plugin is not None:
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    AcceleratorState.__init__ = with_fsdp


def without_bf16() -> None:
    """On a CPU that has it, bfloat16 would be chosen; the comparison is one of float32."""
    from earmark import device

    device.supports_bf16 = lambda _: False


@pytest.mark.slow
def test_two_sharded_processes_train_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_clips(tmp_path / "data", [0.2] * 21, validation_s=mixed_lengths_s(7))
    monkeypatch.setattr("earmark.device.supports_bf16", lambda _: False)
    assert main(words_of(data, tmp_path / "one", 4)) == 0
    words = [*words_of(data, tmp_path / "two", 4), "--fsdp"]
    for code, said in ranks_of(["-m", "tests.train.test_fsdp", *words], [tmp_path, tmp_path]):
        assert code == 0, said
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert {name: value.shape for name, value in two.items()} == {name: value.shape for name, value in one.items()}
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, atol=2e-5, err_msg=name)
    judged = [json.loads((tmp_path / name / "metrics.json").read_text())["validation"] for name in ("one", "two")]
    assert main(["evaluate", str(tmp_path / "two"), "--data_dir", str(data), "--device", "cpu"]) == 0
    again = tmp_path / "two" / "evaluation_validation" / "metrics.json"
    judged.append(json.loads(again.read_text())["validation"])
    for figures in judged:
        assert figures["confusion_matrix"] == judged[0]["confusion_matrix"]
        assert figures["loss"] == pytest.approx(judged[0]["loss"], abs=2e-5)


def test_weights_are_not_spread_over_cpus() -> None:
    args: Any = SimpleNamespace(ema=0, fsdp=["full_shard"], device=torch.device("cpu"))
    with pytest.raises(UsageError, match="--fsdp: weights can be sharded over accelerators, not over cpus"):
        check_spread(args, fsdp=False, deepspeed=False)
    check_spread(args, fsdp=True, deepspeed=False)


@pytest.mark.slow
def test_there_is_no_sharding_on_cpus(tmp_path: Path) -> None:
    data = write_clips(tmp_path / "data", [0.2] * 4)
    words = [*words_of(data, tmp_path / "run", 4), "--fsdp", "full_shard"]
    for code, said in ranks_of(["-m", "earmark", *words], [tmp_path, tmp_path]):
        assert code == 2
        assert "error: --fsdp: weights can be sharded over accelerators, not over cpus" in said


if __name__ == "__main__":
    shard_on_cpus()
    without_bf16()
    sys.exit(main(sys.argv[1:]))
