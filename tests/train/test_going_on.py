"""Going on from checkpoints: what is kept, what is given up, which settings count. In one process."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

import earmark
from earmark.cli.main import main
from earmark.train import stopping
from tests.gallery import Gallery, GalleryRun
from tests.patience import PATIENCE_S
from tests.tiny import write_tones

SRC = Path(__file__).parents[2] / "src"


@pytest.fixture(scope="module")
def tones(trained: GalleryRun) -> Path:
    """16 training clips: with batches of 4, 4 steps an epoch."""
    return trained.data


@pytest.fixture(scope="module")
def trained(gallery: Gallery) -> GalleryRun:
    """A run of 8 steps with checkpoints after each second step."""
    return gallery["single_label tc_resnet"]


def words(tones: Path, run: Path, *more: str) -> list[str]:
    flags = f"--data_dir {tones} --output_dir {run} --model_type tc_resnet --per_device_train_batch_size 4"
    flags += " --device cpu --precision fp32 --disable_tqdm True --logging_steps 1"
    overrides = ["--config_overrides", '{"stem_channels": 8, "channels": [8, 8]}']
    every_second = ["--eval_strategy", "steps", "--eval_steps", "2", "--save_steps", "2"]
    return ["train", *flags.split(), *overrides, *(every_second if "--eval_strategy" not in more else []), *more]


def train(tones: Path, run: Path, *more: str) -> int:
    return main(words(tones, run, *more))


def checkpoints(run: Path) -> list[int]:
    return sorted(int(path.name.split("-")[1]) for path in run.glob("checkpoint-*"))


def history(run: Path, step: int) -> list[dict[str, Any]]:
    return json.loads((run / f"checkpoint-{step}" / "trainer_state.json").read_text())["log_history"]


@pytest.fixture
def told_at(monkeypatch: pytest.MonkeyPatch):
    """Have a run told to stop at a step, as by a signal."""

    def at(step: int) -> None:
        def told(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == step:
                self.signal = "SIGTERM"

        monkeypatch.setattr(stopping.StopOnSignal, "on_step_begin", told)

    return at


def test_a_stop_keeps_what_it_has_saved(tones: Path, tmp_path: Path, told_at, capsys) -> None:
    told_at(6)
    run = tmp_path / "run"
    assert train(tones, run, "--num_train_epochs", "4", "--save_total_limit", "1") == 75
    assert "after step 7 of 16, saved" in capsys.readouterr().err
    assert 7 in checkpoints(run)
    assert not (run / "model.safetensors").exists()


def test_a_stop_saves_whatever_callbacks_of_the_caller_decide(tones: Path, tmp_path: Path, told_at) -> None:
    class NeverSaves(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_save = control.should_training_stop = False

    told_at(2)
    run = tmp_path / "run"
    with pytest.raises(earmark.Stopped, match=r"after step 3 of \d+, saved"):
        earmark.train(
            tones, model="tc_resnet", output_dir=run, device="cpu", per_device_train_batch_size=4, save_strategy="no",
            callbacks=[NeverSaves],
        )  # fmt: skip
    assert checkpoints(run) == [3]


def test_a_stop_saves_where_only_the_best_is_saved(tones: Path, tmp_path: Path, told_at) -> None:
    told_at(5)
    run = tmp_path / "run"
    assert train(tones, run, "--num_train_epochs", "4", "--save_strategy", "best", "--learning_rate", "0") == 75
    assert 6 in checkpoints(run)


def test_files_removed_during_training_are_written_again(tones: Path, tmp_path: Path, caplog) -> None:
    class Moves(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 3:  # the best checkpoint is that of step 2, because nothing is learned
                Path(args.output_dir).rename(tmp_path / "moved")

    with caplog.at_level(logging.WARNING):
        run = earmark.train(
            tones, model="tc_resnet", output_dir=tmp_path / "run", device="cpu", per_device_train_batch_size=4,
            max_steps=6, eval_strategy="steps", eval_steps=2, learning_rate=0, callbacks=[Moves],
        )  # fmt: skip
    for name in ("run_config.yaml", "labels.json", "environment.json", "splits.csv"):
        there, here = ((folder / name).read_text() for folder in (tmp_path / "moved", run.folder))
        assert there == here
    assert run.metrics["train"]["best_checkpoint"] is None
    assert "checkpoint-2: the best checkpoint was removed or moved during training" in caplog.text
    assert "Could not locate the best model" not in caplog.text


def test_going_back_gives_the_later_course_up(trained: GalleryRun, tmp_path: Path) -> None:
    run = trained.copy(tmp_path / "run")
    (run / "checkpoint-2-mine").mkdir()
    back = ["--resume_from_checkpoint", str(run / "checkpoint-2"), "--save_total_limit", "1"]
    assert main(trained.command(run, "--max_steps", "6", *back)) == 0
    (run / "checkpoint-2-mine").rmdir()  # nobody else has
    assert set(checkpoints(run)) <= {2, 4, 6}
    assert {4, 6} & set(checkpoints(run))
    assert {path.name for path in run.glob("abandoned-*")} == {
        "abandoned-1-checkpoint-4", "abandoned-1-checkpoint-6", "abandoned-1-checkpoint-8",
    }  # fmt: skip


def test_a_checkpoint_of_another_folder_begins_a_new_run(trained: GalleryRun, tmp_path: Path, capsys) -> None:
    one, other = trained.folder, trained.copy(tmp_path / "other")
    (other / "model.safetensors").write_bytes(b"of another run")
    start = ["--resume_from_checkpoint", str(one / "checkpoint-4")]
    capsys.readouterr()
    assert main(trained.command(other, *start)) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert main(trained.command(other, *start, "--overwrite_output_dir", "True")) == 0
    assert checkpoints(other) == [6, 8]
    here, there = (load_file(folder / "model.safetensors") for folder in (one, other))
    for name, value in here.items():
        torch.testing.assert_close(value, there[name], rtol=1e-4, atol=1e-6)  # maybe trained by other threads


def test_a_finished_run_that_ends_in_mid_epoch_is_left_as_it_is(tones: Path, tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    flags = ["--max_steps", "6", "--lr_scheduler_type", "constant"]
    assert train(tones, run, *flags) == 0
    before = load_file(run / "model.safetensors")
    capsys.readouterr()
    assert train(tones, run, *flags, "--resume") == 0
    assert "no training step was left to do" in capsys.readouterr().err
    assert max(checkpoints(run)) == 6
    after = load_file(run / "model.safetensors")
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_the_rate_that_is_asked_for_now_is_used(tones: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    flags = ["--lr_scheduler_type", "linear", "--max_steps", "8", "--save_total_limit", "9"]
    assert train(tones, run, *flags, "--learning_rate", "1e-2", "--warmup_steps", "0") == 0
    for step in (6, 8):
        for file in (run / f"checkpoint-{step}").iterdir():
            file.unlink()
        (run / f"checkpoint-{step}").rmdir()
    lower = ["--learning_rate", "1e-4", "--warmup_steps", "0", "--weight_decay", "0.5"]
    often = ["--eval_strategy", "steps", "--eval_steps", "1", "--save_steps", "1"]
    assert train(tones, run, *flags, *lower, *often, "--resume") == 0
    rates = {entry["step"]: entry["learning_rate"] for entry in history(run, 8) if "learning_rate" in entry}
    assert rates[4] == pytest.approx(1e-2 * 5 / 8)
    assert [rates[step] for step in (5, 6, 7, 8)] == pytest.approx([1e-4 * left / 8 for left in (4, 3, 2, 1)])
    optimizer = torch.load(run / "checkpoint-7" / "optimizer.pt", weights_only=True)
    assert {group["weight_decay"] for group in optimizer["param_groups"]} == {0.0, 0.5}
    assert {5, 7} <= set(checkpoints(run))  # as often as is asked for now


def test_weights_alone_are_not_gone_on_with(tones: Path, tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    assert train(tones, run, "--max_steps", "4", "--save_only_model", "True") == 0
    for flag in (["--resume"], ["--resume_from_checkpoint", str(run / "checkpoint-2")]):
        capsys.readouterr()
        assert train(tones, run, "--max_steps", "6", *flag) == 2
        assert "holds only the model (--save_only_model)" in capsys.readouterr().err


def test_evaluating_more_often_than_saving_keeps_the_last_model(tones: Path, tmp_path: Path, capsys) -> None:
    for steps in (("2", "4"), ("4", "2")):
        run = tmp_path / "-".join(steps)
        flags = ["--eval_strategy", "steps", "--eval_steps", steps[0], "--save_steps", steps[1]]
        assert train(tones, run, *flags, "--max_steps", "4") == 0
        assert (
            "the model of the last step, not the best one (--load_best_model_at_end is off)" in capsys.readouterr().err
        )
        assert train(tones, tmp_path / "asked", *flags, "--max_steps", "4", "--load_best_model_at_end", "True") == 2
        assert f"the best model at --eval_steps {steps[0]} is not saved at --save_steps" in capsys.readouterr().err


def test_a_checkpoint_of_other_sounds_or_another_model_is_refused(trained: GalleryRun, tmp_path: Path, capsys) -> None:
    run = trained.copy(tmp_path / "run")
    others = write_tones(tmp_path / "others", per_class=8, seconds=0.2, seed=1)  # as long, with the same labels
    for source, flags, reason in (
        (others, [], "belongs to other training clips (16 clips"),
        (
            trained.data,
            ["--config_overrides", '{"stem_channels": 16, "channels": [8, 8]}'],
            "belongs to another model (",
        ),
        (trained.data, ["--freeze", "encoder"], "run with other frozen weights"),
        (trained.data, ["--head_learning_rate", "0.5"], "with other groups of learning rates"),
    ):
        capsys.readouterr()
        command = trained.command(run, "--data_dir", str(source), "--max_steps", "10", "--resume", *flags)
        assert main(command) == 2
        assert reason in capsys.readouterr().err


def test_a_probe_of_other_pretrained_weights_is_not_gone_on_with(
    trained: GalleryRun, tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrained, probe = trained.copy(tmp_path / "pretrained"), tmp_path / "probe"
    command = words(tones, probe, "--model_name_or_path", str(pretrained), "--freeze", "encoder")
    for flag in ("--model_type", "--config_overrides"):
        del command[command.index(flag) : command.index(flag) + 2]
    assert main([*command, "--max_steps", "2"]) == 0
    state = load_file(pretrained / "model.safetensors")
    name = next(name for name in state if name.endswith("running_mean"))  # of the encoder: no weight, and decides too
    save_file({**state, name: state[name] + 0.5}, pretrained / "model.safetensors", {"format": "pt"})
    capsys.readouterr()
    assert main([*command, "--max_steps", "4", "--resume"]) == 2
    assert "(another --freeze, or another pretrained model)" in capsys.readouterr().err


def test_a_run_that_is_refused_leaves_what_is_there(tones: Path, tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    probe = ["--freeze", "encoder", "--max_steps", "4"]
    assert train(tones, run, *probe) == 0
    assert train(tones, run, *probe[:2], "--max_steps", "6", "--resume") == 0  # what is frozen is no other clips
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    other = write_tones(tmp_path / "other", per_class=5, seconds=0.2)
    capsys.readouterr()
    assert train(other, run, *probe, "--resume") == 2
    assert "belongs to other training clips" in capsys.readouterr().err
    assert before == {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert (run / "model.safetensors").stat().st_mode == (run / "config.json").stat().st_mode


@pytest.mark.parametrize("flag", ["--output_dir", "--resume_from_checkpoint"])
def test_a_name_that_is_too_long_is_one_line(flag: str, tones: Path, tmp_path: Path, capsys) -> None:
    assert train(tones, tmp_path / "run", "--max_steps", "2", flag, str(tmp_path / ("x" * 300))) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("earmark: ")]
    assert "File name too long" in line


class _TellGroup(TrainerCallback):
    """Signals the whole process group after the second step."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 2:
            os.killpg(0, signal.SIGTERM)
            time.sleep(0.3)


def in_a_group_of_its_own() -> None:
    """Train with workers while a signal goes to all of them; the process that a test below starts."""
    before = stopping.StopOnSignal.on_step_end

    def both(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        _TellGroup().on_step_end(args, state, control)
        before(self, args, state, control, **kwargs)

    stopping.StopOnSignal.on_step_end = both  # type: ignore[method-assign]
    sys.exit(main(sys.argv[1:]))


@pytest.mark.slow
@pytest.mark.parametrize("persistent", ["True", "False"])
def test_a_signal_to_all_processes_saves_though_workers_and_reader_have_gone(
    persistent: str, tones: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    asked = words(tones, run, "--num_train_epochs", "4", "--dataloader_num_workers", "2")
    process = subprocess.Popen(
        [sys.executable, __file__, *asked, "--dataloader_persistent_workers", persistent],
        env={**os.environ, "PYTHONPATH": f"{SRC}{os.pathsep}{SRC.parent}", "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stderr is not None
    process.stderr.close()  # as `| tee log`, which dies of the same Ctrl-C
    assert process.wait(PATIENCE_S) == 75
    assert max(checkpoints(run)) in (2, 3)


if __name__ == "__main__":
    in_a_group_of_its_own()
