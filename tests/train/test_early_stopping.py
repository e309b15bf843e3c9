"""Runs that choose their length, evaluate every few epochs and stop early.

A frozen body and a learning rate of 0 give the same metrics at every evaluation, so no test depends on how well a model
learns.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from earmark.cli.main import main
from earmark.settings.train_settings import parse_example
from earmark.train import stopping
from earmark.train.callbacks import estimate_in_words, has_stopped_early, stopped_early
from earmark.train.trainer import AudioTrainer
from tests.tiny import write_tones

SMALL = ["--model_type", "tc_resnet", "--config_overrides", '{"stem_channels": 8, "channels": [8, 8]}']
QUICK = ["--device", "cpu", "--precision", "fp32", "--report", "false", "--disable_tqdm", "True"]
SRC = Path(__file__).parents[2] / "src"
CONSTANT = ["--freeze", "encoder", "--learning_rate", "0"]


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 training clips: with batches of 8, 2 steps an epoch."""
    return write_tones(tmp_path_factory.mktemp("tones"), per_class=8, seconds=0.2)


def words(tones: Path, run: Path, *more: str) -> list[str]:
    given = ["--data_dir", str(tones), "--output_dir", str(run), "--per_device_train_batch_size", "8"]
    return ["train", *given, *SMALL, *QUICK, *more]


def train(tones: Path, run: Path, *more: str) -> int:
    return main(words(tones, run, *more))


def evaluated(run: Path) -> list[float]:
    history = json.loads((run / "history.json").read_text())
    return [row["epoch"] for row in history if "eval_loss" in row]


def steps(run: Path) -> int:
    return int(json.loads((run / "metrics.json").read_text())["train"]["steps"])


def test_a_run_without_a_length_chooses_one_and_stops_early(tones: Path, tmp_path: Path, capsys: Any) -> None:
    run = tmp_path / "run"
    assert train(tones, run, *CONSTANT) == 0
    log = capsys.readouterr().err
    assert (
        "schedule: 200 epochs (400 steps of 8 clips), evaluation every 10 epochs, averaged weights (--ema 0.99), early"
        in log
    )
    assert "estimated training time: at most about " in log
    assert evaluated(run) == [10.0 * n for n in range(1, 9)]
    assert "early stopping at step 160 of 400 (epoch 80): validation accuracy has not improved for 7" in log
    assert steps(run) == 160
    config = yaml.safe_load((run / "run_config.yaml").read_text())
    assert (config["num_train_epochs"], config["eval_epochs"], config["early_stopping_patience"]) == (200, 10, 7)


@pytest.mark.parametrize("average", ["0", "0.9"])
def test_a_run_that_stopped_early_is_finished(tones: Path, tmp_path: Path, capsys: Any, average: str) -> None:
    run = tmp_path / "run"
    given = [*CONSTANT, "--ema", average, "--num_train_epochs", "6", "--early_stopping_patience", "2"]
    assert train(tones, run, *given) == 0
    assert (steps(run), evaluated(run)) == (6, [1.0, 2.0, 3.0])
    measured = json.loads((run / "metrics.json").read_text())["train"]
    assert measured["samples_per_second"] > 0
    assert train(tones, run, *given, "--resume") == 0
    log = capsys.readouterr().err
    assert "early stopping at step 6 of 12" in log
    assert "no training step was left to do" in log
    assert json.loads((run / "metrics.json").read_text())["train"] == measured
    assert (steps(run), evaluated(run)) == (6, [1.0, 2.0, 3.0])
    assert train(tones, run, *given[:-1], "4", "--resume") == 0  # more patience: two more epochs
    assert (steps(run), evaluated(run)) == (10, [1.0, 2.0, 3.0, 4.0, 5.0])


@pytest.mark.parametrize(("length", "expected"), [(["--num_train_epochs", "3"], 6), (["--max_steps", "5"], 5)])
def test_a_given_length_is_not_cut_short(tones: Path, tmp_path: Path, length: list[str], expected: int) -> None:
    assert train(tones, tmp_path / "run", *CONSTANT, *length) == 0
    assert steps(tmp_path / "run") == expected
    assert evaluated(tmp_path / "run") == pytest.approx([1, 2, expected / 2])


def test_the_last_epoch_is_evaluated_too(tones: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(tones, run, "--num_train_epochs", "5", "--eval_epochs", "2", "--save_total_limit", "9") == 0
    assert evaluated(run) == [2, 4, 5]
    assert sorted(path.name for path in run.glob("checkpoint-*")) == ["checkpoint-10", "checkpoint-4", "checkpoint-8"]


# A signal during step 2 (which ends an epoch that is not evaluated), step 3, and step 4 (which ends one that is).
@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_stopped_run_evaluates_the_epochs_that_one_without_a_stop_does(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    given = ["--num_train_epochs", "4", "--eval_epochs", "2"]
    assert train(tones, tmp_path / "whole", *given) == 0

    def told(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == step:
            self.signal = "SIGTERM"

    with monkeypatch.context() as patched:
        patched.setattr(stopping.StopOnSignal, "on_step_begin", told, raising=False)
        assert train(tones, tmp_path / "run", *given) == 75
    saved = tmp_path / "run" / f"checkpoint-{step + 1}"
    assert saved.is_dir()
    assert train(tones, tmp_path / "run", *given, "--resume") == 0
    assert evaluated(tmp_path / "run") == evaluated(tmp_path / "whole") == [2, 4]
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "run"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_old_command_line_keeps_the_epochs_of_the_example() -> None:
    given = ["--do_train", "--model_name_or_path", "m", "--data_dir", "d", "--output_dir", "o"]
    training = parse_example(given).training
    assert (training.num_train_epochs, training.early_stopping_patience, training.eval_epochs) == (3, None, None)
    assert parse_example([*given, "--num_train_epochs", "7"]).training.num_train_epochs == 7


def test_runs_of_several_seeds_choose_the_same_length(tones: Path, tmp_path: Path) -> None:
    assert train(tones, tmp_path / "run", *CONSTANT, "--seeds", "0,1", "--early_stopping_patience", "1") == 0
    assert [steps(tmp_path / "run" / f"seed_{seed}") for seed in (0, 1)] == [40, 40]
    assert train(tones, tmp_path / "run", *CONSTANT, "--seeds", "0,1", "--early_stopping_patience", "1") == 0


@pytest.mark.parametrize(("patience", "best"), [("0", 1), ("9", 3)])
def test_with_early_stopping_the_loss_decides_between_equal_metrics(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: str, best: int
) -> None:
    figures = iter([(0.5, 0.9), (0.4, 0.1), (0.5, 0.7), (0.5, 0.8)])
    own = AudioTrainer.log

    def log(self: Any, logs: dict[str, float], *args: Any) -> None:
        if "eval_loss" in logs:
            logs["eval_accuracy"], logs["eval_loss"] = next(figures)
        own(self, logs, *args)

    monkeypatch.setattr(AudioTrainer, "log", log)
    assert train(tones, tmp_path / "run", "--num_train_epochs", "4", "--early_stopping_patience", patience) == 0
    kept = json.loads((tmp_path / "run" / "metrics.json").read_text())["train"]["best_checkpoint"]
    assert kept == f"checkpoint-{2 * best}"


@pytest.mark.parametrize("steps", [50, 60])
def test_a_run_that_did_all_its_steps_has_not_stopped_early(steps: int) -> None:
    args = Namespace(early_stopping_patience=3, metric_for_best_model="accuracy", greater_is_better=True)
    history = [{"eval_accuracy": value} for value in (0.1, 0.5, 0.4, 0.4, 0.4)]
    state = Namespace(log_history=history, global_step=50, max_steps=steps)
    assert has_stopped_early(args, state)  # a resumed run does not train on
    assert stopped_early(args, state) is (steps == 60)


def test_an_estimate_is_rounded_to_what_it_knows() -> None:
    assert estimate_in_words(0.2, 600, may_stop_early=False) == (
        "estimated training time: about 2 min (600 more steps, 0.2 s each)"
    )
    assert "at most about 50 s" in estimate_in_words(0.05, 1000, may_stop_early=True)
    assert "about 10.0 h" in estimate_in_words(36, 1000, may_stop_early=False)


@pytest.mark.slow
def test_two_processes_choose_the_same_length_and_stop_together(tones: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = words(tones, run, *CONSTANT, "--num_processes", "2", "--early_stopping_patience", "1")
    kept = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment = {**kept, "PYTHONPATH": str(SRC), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "earmark", *command], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "schedule: 200 epochs (200 steps of 16 clips)" in done.stderr  # 2 processes x 8
    assert "early stopping at step 20 of 200" in done.stderr
    assert steps(run) == 20
