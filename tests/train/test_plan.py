"""What a run will do is decided from values alone, so every refusal is tested without training."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from earmark.cli.command_table import COMMANDS
from earmark.device import Abilities
from earmark.errors import DeviceError, OutputError, UsageError
from earmark.settings.config_files import save_config
from earmark.settings.train_settings import TrainSettings, from_keywords, parse_train
from earmark.tasks import SINGLE_LABEL
from earmark.train.plan import FolderState, Plan, look_at_folder, make_plan

CPU = Abilities("cpu", "cpu", "a CPU", has_bf16=True, has_fused_adamw=True)
NPU = Abilities("npu", "npu:0", "Ascend910B", has_bf16=True, has_fused_adamw=True)
OLD_CARD = Abilities("cuda", "cuda:0", "an old card")
EMPTY = FolderState()


def settings(**values: Any) -> TrainSettings:
    model = {} if {"model_name_or_path", "config_name"} & values.keys() else {"model_type": "tc_resnet"}
    return from_keywords({"output_dir": "run", **model, **values})


def plan(state: FolderState = EMPTY, device: Abilities | None = CPU, world_size: int = 1, **values: Any) -> Plan:
    return make_plan(settings(**values), state, device, world_size)


def test_what_is_decided_without_the_clips() -> None:
    made = plan(data_dir="recordings", device=NPU)
    assert (made.task, made.checkpoint, made.resumes, made.replaces) == (SINGLE_LABEL, None, False, False)
    assert (made.training.bf16, made.training.use_cpu, made.training.optim) == (True, False, "adamw_torch_fused")
    assert (made.source.model_type, made.pretrained, made.precision_flag) == ("tc_resnet", False, None)
    assert made.notes == ("device: npu:0, Ascend910B, training in bf16 with adamw_torch_fused",)


def test_a_default_that_was_typed_is_typed_again_where_the_file_of_the_run_is_read(tmp_path: Path) -> None:
    made = plan(label_column_name="label", task="multi_label", train_split_name="none", store_dir=None)
    saved = made.to_save(made.training)
    assert saved["given"] == ["label_column_name"]  # the others show by their value, or say nothing
    assert "given" not in plan().to_save(made.training)
    file = str(tmp_path / "run_config.yaml")
    save_config(saved, Path(file))
    assert parse_train(["--config", file]).data.is_set("label_column_name")
    evaluated, _ = COMMANDS["evaluate"].read(["model", "--config", file])
    assert evaluated.is_set("label_column_name")
    assert not parse_train(["--config", file, "--label_column_name", "x"]).data.given_defaults()


@pytest.mark.parametrize(
    ("task", "metric", "higher"),
    [("single_label", "accuracy", True), ("multi_label", "mean_average_precision", True), ("regression", "mae", False)],
)
def test_the_metric_follows_the_task(task: str, metric: str, higher: bool) -> None:
    training = plan(task=task).training
    assert (training.metric_for_best_model, training.greater_is_better) == (metric, higher)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "leaves no clips for the evaluations of --eval_strategy epoch. Add --eval_strategy no"),
        ({"eval_strategy": "no", "seeds": "0,1"}, "leaves no clips to compare the runs of --seeds on"),
        ({"eval_strategy": "no", "calibrate": True}, None),  # the data may have a validation split of its own
        ({"eval_strategy": "no", "seeds": "0,1", "folds": 2}, None),  # the folds are compared on their test clips
    ],
)
def test_training_without_validation_clips(values: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert settings(validation_fraction=0, **values).data.validation_fraction == 0
        return
    with pytest.raises(UsageError, match=message):
        settings(validation_fraction=0, **values)


def test_precision_and_optimizer_follow_the_device() -> None:
    assert plan(device=OLD_CARD).training.fp16
    assert plan(device=OLD_CARD).training.optim == "adamw_torch"
    noted = plan(fp16=True)
    assert (noted.training.bf16, noted.warning) == (
        True,
        "--fp16 has no gradient scaler on a CPU: training in bf16 instead",
    )
    assert plan(precision="fp32").training.bf16 is False
    few = plan(few_shot=True, model_name_or_path="m")
    assert not few.training.bf16  # the head is fitted in float32


def test_chosen_precision_and_optimizer_are_not_saved_as_given() -> None:
    made = plan(device=OLD_CARD)
    saved = made.to_save(made.training)
    assert (saved["fp16"], saved["bf16"], saved["optim"]) == (False, False, "adamw_torch_fused")
    given = plan(bf16=True)
    assert given.to_save(given.training)["bf16"] is True


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ({}, None),
        ({"bf16": True}, "--bf16"),
        ({"precision": "fp32"}, None),
        ({"precision": "bf16"}, "--precision bf16"),
    ],
)
def test_which_flag_asked_for_the_precision(values: dict[str, Any], flag: str | None) -> None:
    assert plan(**values).precision_flag == flag


@pytest.mark.parametrize(("world_size", "batch", "steps"), [(1, 32, 4), (2, 32, 2), (8, 16, 1), (3, 32, 1)])
def test_a_global_batch_is_the_same_on_any_number_of_processes(world_size: int, batch: int, steps: int) -> None:
    clips = 96 if world_size == 3 else 128
    made = plan(world_size=world_size, global_batch_size=clips)
    assert (made.training.per_device_train_batch_size, made.training.gradient_accumulation_steps) == (batch, steps)
    assert made.notes[-1].startswith(f"batches: {clips} clips a step = ")


@pytest.mark.parametrize(
    ("state", "values", "resumes", "replaces"),
    [
        (FolderState(is_run=True), {"overwrite_output_dir": True}, False, True),
        (FolderState(is_run=True), {"resume": True}, True, False),
        (FolderState(is_run=True), {"resume": True, "overwrite_output_dir": True}, True, False),
        (FolderState(is_run=True, checkpoint="run/checkpoint-3"), {"resume_from_checkpoint": "True"}, True, False),
        (FolderState(checkpoint="elsewhere/checkpoint-3"), {"resume_from_checkpoint": "elsewhere/x"}, False, False),
    ],
)
def test_a_run_in_the_folder(state: FolderState, values: dict[str, Any], resumes: bool, replaces: bool) -> None:
    made = plan(state, **values)
    assert (made.resumes, made.replaces, made.checkpoint) == (resumes, replaces, state.checkpoint)


@pytest.mark.parametrize(
    ("state", "values", "error", "said"),
    [
        (FolderState(is_run=True), {}, OutputError, "run: holds a run already. Name another --output_dir"),
        (
            FolderState(),
            {"data_dir": ["a", "./run"]},
            OutputError,
            "--output_dir run: the recordings are in this folder",
        ),
        (FolderState(foreign=("config.json",)), {}, OutputError, "is not a run of earmark and holds config.json"),
        (FolderState(True, True), {"resume": True}, OutputError, "holds a cross-validation or runs of several seeds"),
        (EMPTY, {"few_shot": True}, UsageError, "--few_shot needs a pretrained or trained model"),
        (
            EMPTY,
            {"few_shot": True, "model_name_or_path": "m", "class_weights": "a=2"},
            UsageError,
            "--few_shot takes no --class_weights a=2. Use balanced",
        ),
        (EMPTY, {"few_shot": True, "model_name_or_path": "m", "push_to_hub": True}, UsageError, "does not push"),
        (EMPTY, {"task": "multi_label", "sampler": "balanced"}, UsageError, "Use --class_weights balanced"),
        (EMPTY, {"task": "regression", "sampler": "balanced"}, UsageError, "--sampler balanced"),
        (
            EMPTY,
            {"task": "regression", "class_weights": "balanced"},
            UsageError,
            "--class_weights: --task regression has",
        ),
        (EMPTY, {"task": "regression", "shots": 5}, UsageError, "--shots 5: --task regression has no classes"),
        (EMPTY, {"task": "regression", "focal_gamma": 2.0}, UsageError, "--focal_gamma"),
        (EMPTY, {"task": "regression", "label_smoothing_factor": 0.1}, UsageError, "--label_smoothing_factor"),
        (EMPTY, {"task": "regression", "calibrate": True}, UsageError, "a number has no probability to calibrate"),
        (EMPTY, {"metric_for_best_model": "f1"}, UsageError, "Choose one of accuracy"),
        (EMPTY, {"greater_is_better": False}, UsageError, "accuracy is better when it is higher"),
        (EMPTY, {"global_batch_size": 127}, UsageError, "cannot be divided evenly over 1 process"),
        (EMPTY, {"global_batch_size": 64, "gradient_accumulation_steps": 2}, UsageError, "Leave one of them out"),
        (EMPTY, {"precision": "fp16"}, DeviceError, "no gradient scaler on a CPU"),
        (EMPTY, {"optim": "adamw_torch_npu_fused"}, UsageError, "Use adamw_torch_fused"),
    ],
)
def test_refusals(state: FolderState, values: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error) as caught:
        plan(state, **values)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_device_without_bf16() -> None:
    with pytest.raises(DeviceError, match="bf16: an old card has no bfloat16 arithmetic"):
        plan(device=OLD_CARD, bf16=True)


@pytest.mark.parametrize(
    "flags", [{"torch_compile": True}, {"torch_compile_backend": "inductor"}, {"torch_compile_mode": "max-autotune"}]
)
def test_compiling_on_a_cpu_needs_a_compiler(flags: dict[str, Any]) -> None:
    without = dataclasses.replace(CPU, missing_compiler="g++")
    with pytest.raises(UsageError, match=r"needs a C\+\+ compiler on a CPU, and g\+\+ is not installed"):
        plan(device=without, **flags)
    plan(device=CPU, **flags)
    plan(device=without, few_shot=True, model_name_or_path="m", **flags)
    plan(device=without, torch_compile=True, torch_compile_backend="eager")
    plan(device=without)


def test_the_state_of_a_folder(tmp_path: Path) -> None:
    here = settings(output_dir=str(tmp_path / "run"))
    assert look_at_folder(here) == EMPTY
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").touch()
    assert look_at_folder(here).foreign == ("config.json",)
    (tmp_path / "run" / "run_config.yaml").touch()
    (tmp_path / "run" / "cross_validation.json").touch()
    assert look_at_folder(here) == FolderState(is_run=True, has_several_runs=True)


def test_planning_needs_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from earmark.settings.train_settings import parse_train; from earmark.train.plan import *; "
        "make_plan(parse_train(['--output_dir', 'o', '--model_type', 'tc_resnet']), FolderState(), Abilities('cpu')); "
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
