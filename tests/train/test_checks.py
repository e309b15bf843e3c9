from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from earmark.cli.main import main
from earmark.errors import UsageError
from earmark.models.tc_resnet import TCResNetConfig, TCResNetForAudioClassification
from earmark.train.arguments import EarmarkTrainingArguments
from earmark.train.checks import check_flags_of_model, check_optimizer
from tests.tiny import write_tones


def test_gradient_checkpointing_that_the_model_does_not_support(tmp_path: Path) -> None:
    model = TCResNetForAudioClassification(TCResNetConfig(stem_channels=8, channels=[8, 8]))
    check_flags_of_model(EarmarkTrainingArguments(str(tmp_path), use_cpu=True), model)
    with pytest.raises(UsageError, match="--gradient_checkpointing: tc_resnet does not support it"):
        check_flags_of_model(EarmarkTrainingArguments(str(tmp_path), use_cpu=True, gradient_checkpointing=True), model)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"optim_args": "momentum"}, "--optim adamw_torch: "),
        ({"lr_scheduler_kwargs": "fast"}, "--lr_scheduler_kwargs fast: not a JSON object"),
        ({"lr_scheduler_type": "warmup_stable_decay"}, "--lr_scheduler_type warmup_stable_decay: .*'num_decay_steps'"),
        ({"lr_scheduler_type": "cosine_with_min_lr"}, "--lr_scheduler_type cosine_with_min_lr: One of min_lr"),
        ({"lr_scheduler_kwargs": {"num_cycle": 2}}, "--lr_scheduler_type linear: .*num_cycle"),
    ],
)
def test_an_optimizer_or_a_schedule_that_cannot_be_made(flags: dict[str, Any], said: str, tmp_path: Path) -> None:
    model = TCResNetForAudioClassification(TCResNetConfig(stem_channels=8, channels=[8, 8]))
    settings = {"use_cpu": True, "optim": "adamw_torch", **flags}
    with pytest.raises(UsageError, match=said):
        check_optimizer(EarmarkTrainingArguments(str(tmp_path), **settings), model)


@pytest.mark.parametrize(
    "flags",
    [
        {"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": 3}},
        {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.1}},
        {"lr_scheduler_type": "reduce_lr_on_plateau", "lr_scheduler_kwargs": {"mode": "max", "patience": 2}},
        {"lr_scheduler_type": "greedy", "lr_scheduler_kwargs": {"mode": "max"}},
        {"optim": "adafactor"},
    ],
)
def test_an_optimizer_and_a_schedule_that_can_be_made(flags: dict[str, Any], tmp_path: Path) -> None:
    model = TCResNetForAudioClassification(TCResNetConfig(stem_channels=8, channels=[8, 8]))
    check_optimizer(EarmarkTrainingArguments(str(tmp_path), use_cpu=True, **flags), model)


@pytest.mark.skipif(importlib.util.find_spec("schedulefree") is not None, reason="the package is there")
def test_an_optimizer_without_its_package_keeps_an_earlier_run(tmp_path: Path, capsys: Any) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "run_config.yaml").write_text("seed: 1\n")
    words = ["--data_dir", str(write_tones(tmp_path / "tones", per_class=4)), "--model_type", "tc_resnet"]
    words += ["--device", "cpu", "--output_dir", str(run), "--overwrite_output_dir"]
    assert main(["train", *words, "--optim", "schedule_free_adamw"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("earmark: error: --optim schedule_free_adamw: You need to install `schedulefree`")
    assert (run / "run_config.yaml").read_text() == "seed: 1\n"
