"""The average of the weights: what it is, that it is what is judged and kept, and that it survives a stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from earmark.cli.main import main
from earmark.errors import OutputError, UsageError
from earmark.train.arguments import EarmarkTrainingArguments
from earmark.train.checkpoints import check_same_run
from earmark.train.ema import LEARNING_WEIGHTS, WeightAverage, decay_at
from earmark.train.trainer import AudioTrainer
from tests.train.small import build, make_trainer, mixed_lengths_s, usable, write_clips

Weights = dict[str, torch.Tensor]


class Course(TrainerCallback):
    """The weights after each step, and those of the model while it is judged."""

    def __init__(self, trainer: AudioTrainer) -> None:
        self.trainer = trainer
        self.steps: list[Weights] = []
        self.judged: dict[int, Weights] = {}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.steps.append(weights_of(self.trainer))

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.judged[state.global_step] = weights_of(self.trainer)


def weights_of(trainer: AudioTrainer) -> Weights:
    return {name: value.clone() for name, value in trainer.audio.model.state_dict().items()}


def averages(start: Weights, steps: list[Weights], decay: float) -> list[Weights]:
    """By hand: min(decay, (1 + n) / (10 + n)) of the average stays."""
    average, course = {name: value.double() for name, value in start.items()}, []
    for n, weights in enumerate(steps):
        share = min(decay, (1 + n) / (10 + n))
        average = {name: share * value + (1 - share) * weights[name] for name, value in average.items()}
        course.append(average)
    return course


def close(one: Weights, other: Weights) -> bool:
    return all(torch.allclose(one[name].double(), other[name].double(), atol=1e-6) for name in one)


@pytest.fixture
def clips(tmp_path: Path) -> Any:
    return usable(write_clips(tmp_path / "clips", mixed_lengths_s(16, longest_s=0.3)))


def test_decay_rises_to_what_was_asked_for() -> None:
    assert [round(decay_at(n, 0.999), 4) for n in (0, 10, 8990, 10**6)] == [0.1, 0.55, 0.999, 0.999]
    assert decay_at(0, 0.05) == 0.05


@pytest.mark.parametrize(("kind", "best"), [("wav2vec2", False), ("wav2vec2", True), ("tc_resnet", False)])
def test_the_average_is_what_is_judged_saved_and_kept(kind: str, best: bool, clips: Any, tmp_path: Path) -> None:
    audio = build(kind, length_s=0.3)
    start = {name: value.clone() for name, value in audio.model.state_dict().items()}
    often = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": best}
    settings = {**often, "save_total_limit": None, "num_train_epochs": 3, "learning_rate": 1e-2}
    trainer = make_trainer(audio, clips, tmp_path / "run", ema=0.3, metric_for_best_model="loss", **settings)
    course = Course(trainer)
    trainer.add_callback(course)
    trainer.train()
    by_hand = averages(start, course.steps, 0.3)
    for step, judged in course.judged.items():
        floating = {name: value for name, value in judged.items() if value.is_floating_point()}
        assert close(floating, by_hand[step - 1])
        assert not close(floating, course.steps[step - 1])
        saved = load_file(tmp_path / "run" / f"checkpoint-{step}" / "model.safetensors")
        assert all(torch.equal(value, judged[name]) for name, value in saved.items())
    kept = trainer.state.best_global_step if best else trainer.state.global_step
    assert all(torch.equal(value, course.judged[kept][name]) for name, value in weights_of(trainer).items())


def test_what_learns_stays_out_of_the_average(clips: Any, tmp_path: Path) -> None:
    """The course of training is that without an average, bit by bit."""
    ends = []
    for ema in (None, 0.9):
        trainer = make_trainer(build(length_s=0.3), clips, tmp_path / f"run_{ema}", ema=ema, eval_strategy="epoch")
        course = Course(trainer)
        trainer.add_callback(course)
        trainer.train()
        ends.append(course.steps[-1])
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_frozen_weights_have_no_average() -> None:
    model = build("wav2vec2", "encoder").model
    learning = sum(weight.requires_grad for weight in model.parameters())
    assert len(WeightAverage(model, 0.9)._averages) == learning


@pytest.mark.parametrize(
    ("kind", "bf16"),
    [
        ("wav2vec2", True),
        pytest.param("wav2vec2", False, marks=pytest.mark.slow),
        ("tc_resnet", False),
        pytest.param("tc_resnet", True, marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_ends_with_the_same_bits(kind: str, bf16: bool, clips: Any, tmp_path: Path) -> None:
    often = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": False}
    settings = {**often, "save_total_limit": None, "num_train_epochs": 3, "ema": 0.9, "bf16": bf16}

    def run(checkpoint: Path | None) -> tuple[Weights, list[dict[str, float]]]:
        torch.manual_seed(int(checkpoint is None))
        trainer = make_trainer(build(kind, length_s=0.3), clips, tmp_path / "run", **settings)
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        losses = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
        return weights_of(trainer), [{"loss": entry["eval_loss"]} for entry in losses]

    whole, losses = run(None)
    resumed, resumed_losses = run(tmp_path / "run" / "checkpoint-4")
    assert not [name for name, value in whole.items() if not torch.equal(value, resumed[name])]
    assert losses == resumed_losses


def test_a_checkpoint_with_another_kind_of_weights_is_refused(clips: Any, tmp_path: Path) -> None:
    often = {"save_strategy": "epoch", "save_total_limit": None}
    checkpoints = {}
    for ema in (None, 0.9):
        trainer = make_trainer(build(length_s=0.3), clips, tmp_path / f"run_{ema}", ema=ema, **often)
        trainer.train()
        checkpoints[ema] = tmp_path / f"run_{ema}" / "checkpoint-4"
    assert (checkpoints[0.9] / LEARNING_WEIGHTS).is_file()
    for ema, other in ((None, 0.9), (0.9, None)):
        trainer = make_trainer(build(length_s=0.3), clips, tmp_path / "other", ema=ema, **often)
        with pytest.raises(OutputError, match="another setting of --ema"):
            check_same_run(str(checkpoints[other]), trainer.facts())
        with pytest.raises(OutputError, match="--ema"):
            trainer.train(resume_from_checkpoint=str(checkpoints[other]))


@pytest.mark.parametrize("how", ["fsdp", "deepspeed"])
def test_spread_weights_are_refused(how: str) -> None:
    with pytest.raises(UsageError, match=f"--ema and --{how} .*Leave --{how} out, or set --ema 0"):
        EarmarkTrainingArguments(output_dir="y", use_cpu=True, ema=0.9, **{how: "full_shard"})


@pytest.mark.parametrize("decay", ["1", "1.5", "-0.1", "nan"])
def test_a_decay_out_of_range_is_one_line(decay: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--data_dir", str(tmp_path), "--model_type", "tc_resnet", "--output_dir", "y", f"--ema={decay}"]
    assert main(words) == 2
    assert f"--ema {decay}: expected a number between 0 and 1" in capsys.readouterr().err
