"""A search from command line to best settings: on validation clips only, and the same after a stop."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from transformers import TrainerControl

from earmark.cli.main import main
from earmark.runs.folder_lock import locked_folder
from earmark.train import sweep
from earmark.train.search import _Watch
from earmark.train.sweep import EndedEarly
from earmark.train.trainer import AudioTrainer
from tests.patience import wait_until
from tests.small_files import no_file_longer_than
from tests.tiny import write_tones
from tests.train.small import alike

pytest.importorskip("optuna")
SHORT = ["--num_train_epochs", "2"]
SPACE = "learning_rate=1e-5:1e-2:log,num_train_epochs=1:3"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_tones(tmp_path / "data", per_class=8, seconds=0.2)


def command(data: Path, output: Path, *words: str) -> list[str]:
    flags = "--model_type tc_resnet --per_device_train_batch_size 4"
    small = ["--config_overrides", '{"stem_channels": 8, "channels": [8, 8]}']
    rest = "--device cpu --precision fp32 --disable_tqdm True --metric_for_best_model loss"
    places = ["--data_dir", str(data), "--output_dir", str(output)]
    return ["search", *places, *flags.split(), *small, *rest.split(), *words]


def results(output: Path) -> dict[str, Any]:
    return json.loads((output / "search.json").read_text())


def test_each_trial_writes_its_events_below_logging_dir(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    space = ["--search_space", "learning_rate=1e-4:1e-3", "--trials", "2", "--num_train_epochs", "1"]
    events = ["--report_to", "tensorboard", "--logging_dir", str(tmp_path / "events")]
    assert main(command(data, tmp_path / "search", *space, *events)) == 0
    assert sorted({path.parent.name for path in (tmp_path / "events").rglob("events.out*")}) == ["trial_0", "trial_1"]
    assert "TENSORBOARD_LOGGING_DIR" not in os.environ


def test_a_search_finds_settings_that_can_be_repeated(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = data / "test" / "low" / "broken.wav"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"not audio")  # a run that looked at the test split would stop here
    output = tmp_path / "the search"
    assert main(command(data, output, "--search_space", SPACE, "--trials", "3")) == 0
    shown = capsys.readouterr().out
    found = results(output)
    trials = found["trials"]
    assert [row["trial"] for row in trials] == ["trial_0", "trial_1", "trial_2"]
    assert all(row["state"] == "done" for row in trials)
    assert len({row["values"]["learning_rate"] for row in trials}) == 3
    best = min(trials, key=lambda row: row["value"])
    assert found["best"] == best["trial"]
    for row in trials:
        folder = output / row["trial"]
        metrics = json.loads((folder / "metrics.json").read_text())
        assert metrics["validation"]["loss"] == row["value"] == min(row["course"].values())
        assert "test" not in metrics
        assert len((folder / "splits.csv").read_text().splitlines()) == 1 + 16 + 8  # head, training, validation
        assert len(row["course"]) == row["values"]["num_train_epochs"]
        assert (folder / "model.safetensors").is_file() == (row is best)
        assert not list(folder.glob("checkpoint-*"))
        assert f"| {row['trial']} | {row['value']:.4f}" in shown
    assert f"earmark train --config '{output / 'best.yaml'}'" in shown
    shutil.rmtree(data / "test")
    assert main(["train", "--config", str(output / "best.yaml")]) == 0
    again = json.loads((output / "best" / "metrics.json").read_text())
    assert again["validation"]["loss"] == best["value"]
    assert main(["evaluate", str(output / best["trial"]), "--data_dir", str(data), "--device", "cpu"]) == 0


def test_more_trials_are_added_and_draws_do_not_depend_on_the_stop(data: Path, tmp_path: Path) -> None:
    words = ["--search_space", SPACE, "--max_steps", "1"]
    assert main(command(data, tmp_path / "once", *words, "--trials", "3")) == 0
    for trials in ("1", "3"):
        assert main(command(data, tmp_path / "twice", *words, "--trials", trials)) == 0
    assert results(tmp_path / "once") == results(tmp_path / "twice")


@pytest.mark.slow
def test_a_killed_search_goes_on_to_the_same_trials(data: Path, tmp_path: Path) -> None:
    words = ["--search_space", "learning_rate=1e-4:1e-3:log", "--trials", "2", "--max_steps", "60"]
    words += ["--prune", "false", "--eval_strategy", "steps", "--eval_steps", "20"]
    whole, output = tmp_path / "whole", tmp_path / "killed"
    assert main(command(data, whole, *words)) == 0
    started = subprocess.Popen(
        [sys.executable, "-m", "earmark", *command(data, output, *words)], stderr=subprocess.DEVNULL
    )
    wait_until(lambda: list(output.glob("trial_1/checkpoint-*")) or started.poll() is not None, poll_s=0.001)
    assert started.poll() is None
    started.send_signal(signal.SIGKILL)
    started.wait()
    assert main(command(data, output, *words)) == 0
    assert results(output) == alike(results(whole))


def test_a_trial_that_diverges_is_recorded_and_the_search_goes_on(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = "learning_rate=1e-3|1e38,freeze=none|last-9"
    assert main(command(data, tmp_path / "s", "--search_space", space, "--trials", "3", "--seed", "0", *SHORT)) == 0
    shown = capsys.readouterr()
    rows = results(tmp_path / "s")["trials"]
    assert [row["values"]["freeze"] for row in rows] == ["none", "last-9", "none"]
    for row in rows:
        if row["values"]["freeze"] == "last-9":
            assert (row["state"], "the model has 2 layers" in row["why"]) == ("failed", True)
        elif row["values"]["learning_rate"] > 1:
            assert (row["state"], "the loss of these clips is NaN or infinite" in row["why"]) == ("failed", True)
        else:
            assert row["state"] in ("done", "pruned")
    assert {row["state"] for row in rows} >= {"done", "failed"}
    assert "failed: step " in shown.out
    assert "NaN" in shown.out


def test_an_impossible_first_trial_is_recorded_and_the_search_goes_on(data: Path, tmp_path: Path) -> None:
    words = ["--search_space", "freeze=last-9|none", "--num_train_epochs", "1", "--trials", "3", "--seed", "1"]
    assert main(command(data, tmp_path / "s", *words)) == 0
    rows = results(tmp_path / "s")["trials"]
    assert [row["values"]["freeze"] for row in rows] == ["last-9", "last-9", "none"]
    assert [row["state"] for row in rows] == ["failed", "failed", "done"]
    assert "the model has 2 layers" in rows[0]["why"]


def test_what_every_trial_would_fail_of_ends_the_search(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--search_space", "learning_rate=1e-4:1e-3", "--freeze", "last-9", "--trials"]
    for trials, tried in (("5", 3), ("2", 2)):
        output = tmp_path / trials
        assert main(command(data, output, *words, trials)) == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith(f"earmark: error: none of the first {tried} trials could be trained; the last of them, ")
        assert f"trial_{tried - 1} (learning_rate 0.0" in last
        assert "the model has 2 layers" in last
    # what is wrong with the data is so for all, and one that goes on when it was fixed has lost nothing
    broken = next((data / "train" / "low").iterdir())
    whole = broken.read_bytes()
    broken.write_bytes(b"RIFF....")
    words = ["--search_space", "learning_rate=1e-4:1e-3", "--num_train_epochs", "1", "--trials", "1"]
    assert main(command(data, tmp_path / "s", *words)) == 2
    assert "error: trial_0 (learning_rate 0.0" in capsys.readouterr().err
    broken.write_bytes(whole)
    assert main(command(data, tmp_path / "s", *words)) == 0
    assert [row["state"] for row in results(tmp_path / "s")["trials"]] == ["done"]


@pytest.mark.parametrize("stops", [False, True])
def test_a_trial_that_ends_anyway_is_not_pruned(stops: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = SimpleNamespace(report=lambda step, value: True)
    args, state = SimpleNamespace(eval_strategy="steps"), SimpleNamespace(epoch=1.0, global_step=2, max_steps=4)
    control = TrainerControl(should_training_stop=stops)  # by a signal or by early stopping
    watch: Any = _Watch(trials, "accuracy")  # type: ignore[arg-type]  # all of the trials that it asks
    with nullcontext() if stops else pytest.raises(EndedEarly):
        watch.on_evaluate(args, state, control, metrics={"eval_accuracy": 0.5})


def test_bad_trials_are_ended_early(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of a trial is made to be its number, so that every trial is worse than the ones before."""
    log = AudioTrainer.log

    def by_number(self: Any, logs: dict[str, float], *args: Any) -> None:
        if "eval_loss" in logs:
            logs["eval_loss"] = float(self.args.output_dir.rpartition("_")[2])
        log(self, logs, *args)

    monkeypatch.setattr(AudioTrainer, "log", by_number)
    space = ["--search_space", "learning_rate=1e-7:1e-2:log", "--num_train_epochs", "2", "--trials", "5"]
    assert main(command(data, tmp_path / "s", *space)) == 0
    rows = results(tmp_path / "s")["trials"]
    assert [row["state"] for row in rows] == ["done"] * 4 + ["pruned"]
    assert [len(row["course"]) for row in rows] == [2] * 4 + [1]
    assert not list((tmp_path / "s" / "trial_4").glob("checkpoint-*"))


def test_a_trial_that_never_gets_further_is_given_up(data: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """Broken off without an error that could be recorded, as by a machine that runs out of memory."""
    calls = []
    train = sweep.train

    def dies_in_the_first(*args: Any, **kwargs: Any) -> Any:
        calls.append(args[0].training.output_dir)
        if calls[-1].endswith("trial_0"):
            raise KeyboardInterrupt
        return train(*args, **kwargs)

    monkeypatch.setattr(sweep, "train", dies_in_the_first)
    words = command(data, tmp_path / "s", "--search_space", SPACE, "--trials", "2", "--max_steps", "2")
    assert [main(words) for _ in range(4)] == [130, 130, 130, 0]
    rows = results(tmp_path / "s")["trials"]
    assert rows[0]["why"] == "interrupted 3 times at the same step"
    assert rows[1]["state"] == "done"


def test_another_search_another_run_and_damage_are_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "s"
    words = ["--search_space", "learning_rate=1e-4:1e-3", "--trials", "1", "--max_steps", "1"]
    assert main(command(data, output, *words)) == 0

    def refused(*more: str) -> str:
        capsys.readouterr()
        assert main(command(data, output, *words, *more)) == 2
        return capsys.readouterr().err.splitlines()[-1]

    assert "holds a search with other settings (seed 42 there, 7 here)" in refused("--seed", "7")
    with locked_folder(output):
        assert f"{output}: process {os.getpid()} on " in refused()
    with no_file_longer_than(5000):  # longer than the settings, which are there
        assert "search.db: cannot be written (" in refused("--trials", "2")
    (output / "search.db").write_bytes(b"nonsense" * 100)
    assert "search.db: cannot be used as the trials of a search" in refused()
    assert main(command(data, output, *words, "--overwrite_output_dir", "--seed", "7")) == 0
    assert yaml.safe_load((output / "search.yaml").read_text())["seed"] == 7
    output = output / "trial_0"
    assert "holds a run, not a search" in refused()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "a search needs a search space. Add --search_space"),
        (["--search_space", "ema=0.5:1"], "--search_space: --ema 1: expected a number between 0 and 1"),
        (["--search_space", SPACE, "--trials", "0"], "--trials 0: expected a whole number of at least 1"),
        (["--search_space", SPACE, "--seeds", "0,1"], "each trial of a search is one run"),
        (["--search_space", SPACE, "--folds", "3"], "each trial of a search is one run"),
        (["--search_space", SPACE, "--resume_from_checkpoint", "x"], "Run the command without it to resume"),
        (["--search_spice", SPACE], "unknown flag --search_spice; did you mean --search_space?"),
    ],
)
def test_wrong_flags_are_one_line(
    words: list[str], said: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(data, tmp_path / "s", *words)) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "s" / "search.yaml").exists()
