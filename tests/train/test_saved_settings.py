"""The settings file of a run starts another run, together with other flags."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from earmark.device import Abilities
from earmark.errors import EarmarkError, UsageError
from earmark.settings.config_files import save_config
from earmark.settings.train_settings import parse_train
from earmark.train.plan import FolderState, make_plan

CPU = Abilities("cpu", has_bf16=True, has_fused_adamw=True)
CHOSEN = {"num_train_epochs": 60.0, "eval_epochs": 3, "early_stopping_patience": 7, "ema": 0.99, "learning_rate": 4e-3}


def saved(folder: Path, chosen: dict[str, Any], *flags: str) -> list[str]:
    """The flags of a run from the settings of an earlier one, for which earmark chose some."""
    words = ["--data_dir", str(folder), "--output_dir", str(folder / "run"), "--model_type", "tc_resnet", *flags]
    settings = parse_train([*words, "--device", "cpu"])
    plan = make_plan(settings, FolderState(), CPU)
    save_config(plan.to_save(dataclasses.replace(plan.training, **chosen)), folder / "run_config.yaml")
    return ["--config", str(folder / "run_config.yaml")]


def test_a_chosen_precision_is_no_flag(tmp_path: Path) -> None:
    again = saved(tmp_path, {**CHOSEN, "bf16": True})
    assert make_plan(parse_train(again), FolderState(), CPU).precision_flag is None
    assert not make_plan(parse_train([*again, "--precision", "fp32"]), FolderState(), CPU).training.bf16


def test_a_given_precision_is_kept_until_it_is_set_to_false(tmp_path: Path) -> None:
    again = saved(tmp_path, CHOSEN, "--bf16")
    assert make_plan(parse_train(again), FolderState(), CPU).precision_flag == "--bf16"
    with pytest.raises(UsageError, match="or add --bf16 False"):
        make_plan(parse_train([*again, "--precision", "fp32"]), FolderState(), CPU)
    assert not parse_train([*again, "--bf16", "False"]).training.bf16


@pytest.mark.parametrize(
    ("flags", "remedies"),
    [
        (["--eval_strategy", "no", "--load_best_model_at_end", "False"], ["--early_stopping_patience 0"]),
        (["--eval_strategy", "steps", "--save_strategy", "steps", "--save_steps", "50"], ["--eval_epochs 1"]),
        (["--metric_for_best_model", "loss"], ["--greater_is_better False"]),
        (["--fsdp", "full_shard"], ["--ema 0"]),
    ],
)
def test_a_refusal_names_a_value_that_works(flags: list[str], remedies: list[str], tmp_path: Path) -> None:
    again = [*saved(tmp_path, CHOSEN), *flags]

    def start(words: list[str]) -> None:
        make_plan(parse_train(words), FolderState(), CPU)

    with pytest.raises(EarmarkError) as error:
        start(again)
    for remedy in remedies:
        assert f"et {remedy}" in str(error.value)  # set, or Set
        again += remedy.split()
    start(again)
