"""A run that is stopped, killed or out of disk goes on to the weights of one that was not."""

from __future__ import annotations

import logging
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from earmark.cli.main import main
from earmark.errors import OutputError
from earmark.models.build_model import AudioModel
from earmark.runs.folder_lock import LOCK_FILE
from earmark.train.checkpoints import UNFINISHED, check_same_run, checkpoints_in, why_incomplete
from earmark.train.saving import translated_save_errors
from tests.gallery import Gallery
from tests.patience import PATIENCE_S, wait_until
from tests.train.small import build, make_trainer, mixed_lengths_s, usable, write_clips

Train = Callable[..., "Done"]
CHANCE = {"mask_time_prob": 0.3, "layerdrop": 0.3, "hidden_dropout": 0.2, "attention_dropout": 0.1}


def with_chance(kind: str, what_is_frozen: str = "none") -> AudioModel:
    """A model whose training draws random numbers wherever it can."""
    if kind != "wav2vec2":
        return build(kind, what_is_frozen, length_s=0.3)
    return build(kind, what_is_frozen, length_s=0.3, **CHANCE)


ACCUMULATED = {"gradient_accumulation_steps": 2, "bf16": True}
WORKER = {"dataloader_num_workers": 1, "dataloader_persistent_workers": True}


@pytest.mark.parametrize(
    ("what_is_frozen", "settings", "at_step"),
    [
        ("none", {}, 2),
        pytest.param("none", {}, 4, marks=pytest.mark.slow),
        pytest.param("none", ACCUMULATED, 2, marks=pytest.mark.slow),
        ("none", ACCUMULATED, 4),
        ("feature_encoder", WORKER, 2),
        pytest.param("feature_encoder", WORKER, 4, marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_ends_with_the_same_bits(
    what_is_frozen: str, settings: dict[str, Any], at_step: int, tmp_path: Path
) -> None:
    """Clips of many lengths, half of them cut at a new random place each epoch; 16 clips, so 4 batches an epoch."""
    clips = usable(write_clips(tmp_path / "clips", mixed_lengths_s(16, longest_s=0.6)))
    settings = {"save_strategy": "steps", "save_steps": at_step, "save_total_limit": None, **settings}

    def run(checkpoint: str | None) -> dict[str, torch.Tensor]:
        torch.manual_seed(int(checkpoint is None))  # what has been drawn before does not matter
        audio = with_chance("wav2vec2", what_is_frozen)
        trainer = make_trainer(audio, clips, tmp_path / "run", num_train_epochs=3, **settings)
        torch.manual_seed(5 if checkpoint is None else 6)
        trainer.train(resume_from_checkpoint=checkpoint)
        return {name: value.clone() for name, value in audio.model.state_dict().items()}

    whole = run(None)
    checkpoint = tmp_path / "run" / f"checkpoint-{at_step}"
    for later in checkpoints_in(tmp_path / "run"):
        if later != checkpoint:
            shutil.rmtree(later)
    resumed = run(str(checkpoint))
    assert whole.keys() == resumed.keys()
    different = [name for name, value in whole.items() if not torch.equal(value, resumed[name])]
    assert not different


def test_a_checkpoint_records_what_changes_the_bits(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    trainer = make_trainer(build("tc_resnet"), usable(clips), tmp_path / "run", max_steps=1, save_strategy="steps")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        trainer.args.save_steps = 1
        trainer.train()
        (checkpoint,) = checkpoints_in(tmp_path / "run")
        caplog.clear()
        with caplog.at_level(logging.WARNING, "earmark"):
            check_same_run(str(checkpoint), trainer.facts())
            assert not caplog.messages
            torch.set_num_threads(2)
            monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
            trainer.args.adam_beta2 = 0.5
            check_same_run(str(checkpoint), trainer.facts())
    finally:
        torch.set_num_threads(threads)
    assert "other settings: adam_beta2 0.999 -> 0.5. The final weights will differ" in caplog.text
    assert "other arithmetic: threads 1 -> 2, ONEDNN_MAX_CPU_ISA unset -> AVX2. The final weights can" in caplog.text


def command(clips: Path, output: Path, *words: str) -> list[str]:
    flags = f"--data_dir {clips} --output_dir {output} --model_type tc_resnet --per_device_train_batch_size 4"
    words = ("--config_overrides", '{"stem_channels": 8, "channels": [8, 8]}', *words)
    flags += " --eval_strategy no --save_strategy steps --save_steps 4 --disable_tqdm True --device cpu"
    return [sys.executable, "-m", "earmark", "train", *flags.split(), *words]


@dataclass
class Done:
    """How a command ended."""

    returncode: int
    stderr: str


@pytest.fixture
def train(capsys: pytest.CaptureFixture[str]) -> Train:
    """Runs the command in this process, which has torch loaded already."""

    def run(clips: Path, output: Path, *words: str) -> Done:
        capsys.readouterr()
        code = main(command(clips, output, *words)[3:])
        return Done(code, capsys.readouterr().err)

    return run


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    return write_clips(tmp_path / "clips", mixed_lengths_s(16, longest_s=0.3))


def wait_until_caught(pid: int) -> None:
    """Wait until the process has a handler for SIGTERM, which is in force while it trains."""

    def is_caught() -> int:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        status = dict(line.split(":\t") for line in lines if ":\t" in line)
        return int(status["SigCgt"], 16) & 1 << (signal.SIGTERM - 1)

    wait_until(is_caught)


@pytest.mark.slow
@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_run_goes_on(told: signal.Signals, clips: Path, tmp_path: Path, train: Train) -> None:
    steps = ("--max_steps", "400", "--save_strategy", "no")
    started = subprocess.Popen(
        command(clips, tmp_path / "run", *steps, "--logging_steps", "1"), stderr=subprocess.PIPE, text=True
    )
    assert started.stderr is not None
    wait_until_caught(started.pid)
    started.send_signal(told)
    rest = started.communicate(timeout=PATIENCE_S)[1]
    assert started.returncode == 75, rest
    assert f"{told.name}: saving a checkpoint after this step" in rest
    assert rest.splitlines()[-1].startswith(f"earmark: stopped by {told.name} after step ")
    assert rest.splitlines()[-1].endswith("saved. Run the same command with --resume to continue.")
    (checkpoint,) = checkpoints_in(tmp_path / "run")
    assert why_incomplete(checkpoint) is None
    assert not (tmp_path / "run" / "metrics.json").exists()

    if told == signal.SIGINT:
        return
    done = train(clips, tmp_path / "run", *steps, "--resume")
    assert done.returncode == 0, done.stderr
    assert f"resuming from {checkpoint}" in done.stderr
    never_stopped = train(clips, tmp_path / "whole", *steps)
    assert never_stopped.returncode == 0, never_stopped.stderr
    same_weights(tmp_path / "run", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("too_long", ["model.safetensors", "optimizer.pt"])  # of safetensors, and of torch
def test_what_does_not_fit_leaves_the_last_good_checkpoint(
    too_long: str, clips: Path, tmp_path: Path, train: Train
) -> None:
    large = (
        "--config_overrides",
        '{"stem_channels": 64, "channels": [96, 96]}',
    )  # the filters of its log-mel are small
    first = train(clips, tmp_path / "run", "--max_steps", "4", *large)
    assert first.returncode == 0, first.stderr
    good = tmp_path / "run" / "checkpoint-4"
    assert (good / "model.safetensors").stat().st_size < (good / "optimizer.pt").stat().st_size * 8 // 10
    size = (good / too_long).stat().st_size * 9 // 10

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    full = subprocess.run(
        command(clips, tmp_path / "run", "--max_steps", "8", "--resume", *large),
        capture_output=True, text=True, check=False, preexec_fn=little_room,
    )  # fmt: skip
    assert full.returncode == 2, full.stderr
    last = full.stderr.splitlines()[-1]
    reason = "(File too large). Fix the cause, then run again with --resume."
    assert last == f"earmark: error: {tmp_path / 'run' / 'checkpoint-8'}: cannot be written {reason}"
    assert why_incomplete(good) is None
    assert not (tmp_path / "run" / UNFINISHED).exists()
    done = train(clips, tmp_path / "run", "--max_steps", "8", "--resume", *large)
    assert done.returncode == 0, done.stderr


def test_a_full_disk_is_told_from_other_faults(tmp_path: Path) -> None:
    with (
        pytest.raises(
            OutputError, match=r"x: cannot be written \(No space left on device\). Free disk space, then start again"
        ),
        translated_save_errors(tmp_path / "x", tmp_path),
    ):
        Path("/dev/full").write_bytes(b"1")
    with (
        pytest.raises(OutputError, match=r"y: cannot be written \(No such file .*\). Fix the cause, then start again"),
        translated_save_errors(tmp_path / "y", tmp_path),
    ):
        save_file({"weights": torch.zeros(1)}, tmp_path / "no" / "y")
    with pytest.raises(RuntimeError, match="a rank is lost"), translated_save_errors(tmp_path / "z", tmp_path):
        raise RuntimeError("a rank is lost")


@pytest.mark.slow
def test_a_second_command_is_told_of_the_first_and_leaves_it_alone(clips: Path, tmp_path: Path, train: Train) -> None:
    output = tmp_path / "run"
    with subprocess.Popen(command(clips, output, "--max_steps", "100000"), stderr=subprocess.DEVNULL) as started:
        try:
            wait_until_caught(started.pid)
            for words in ((), ("--overwrite_output_dir",), ("--resume",)):
                second = train(clips, output, "--max_steps", "4", *words)
                assert second.returncode == 2, second.stderr
                told = f"earmark: error: {output}: process {started.pid} on {socket.gethostname()} works in it. "
                assert second.stderr.splitlines()[-1].startswith(told)
            assert started.poll() is None
        finally:
            started.kill()
    done = train(clips, output, "--max_steps", "4", "--overwrite_output_dir")
    assert done.returncode == 0, done.stderr
    assert not (output / LOCK_FILE).exists()


@pytest.mark.slow
def test_killed_while_saving_the_newest_whole_checkpoint_is_taken(clips: Path, tmp_path: Path, train: Train) -> None:
    """The process is killed while it writes a checkpoint that is not its first."""
    output = tmp_path / "run"
    with subprocess.Popen(command(clips, output, "--max_steps", "2000"), stderr=subprocess.DEVNULL) as started:
        try:
            wait_until(
                lambda: ((output / UNFINISHED).exists() and checkpoints_in(output)) or started.poll() is not None,
                poll_s=0.0005,
            )
            assert started.poll() is None
        finally:
            started.kill()
    kept = checkpoints_in(output)
    assert kept
    assert all(why_incomplete(checkpoint) is None for checkpoint in kept)
    done = train(clips, output, "--max_steps", str(max(int(path.name[11:]) for path in kept) + 4), "--resume")
    assert done.returncode == 0, done.stderr
    assert not (output / UNFINISHED).exists()


def same_weights(one: Path, other: Path) -> None:
    first, second = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert first.keys() == second.keys()
    assert not [name for name, value in first.items() if not torch.equal(value, second[name])]


def test_a_finished_run_is_left_as_it_is(gallery: Gallery, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained = gallery["single_label tc_resnet"]
    run = trained.copy(tmp_path / "run")
    assert main(trained.command(run, "--resume")) == 0
    assert "no training step was left to do" in capsys.readouterr().err
    assert (run / "model.safetensors").read_bytes() == (trained.folder / "model.safetensors").read_bytes()
    assert (run / "metrics.json").is_file()


@pytest.mark.slow
def test_ranks_stop_after_the_same_step_when_one_is_told(clips: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words = [*command(clips, output, "--max_steps", "20000", "--save_strategy", "no")[1:], "--logging_steps", "1000"]
    started = subprocess.Popen([*launcher, *words], stderr=subprocess.PIPE, text=True)
    assert started.stderr is not None
    for line in started.stderr:
        if line.startswith("training: "):
            break
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
    ranks = [int(pid) for pid in children if "earmark" in Path(f"/proc/{pid}/cmdline").read_text()]
    assert len(ranks) == 2
    for rank in ranks:
        wait_until_caught(rank)
    os.kill(ranks[-1], signal.SIGTERM)
    rest = started.communicate(timeout=PATIENCE_S)[1]
    assert started.returncode != 0
    (stopped,) = [line for line in rest.splitlines() if line.startswith("earmark: stopped by ")]
    (checkpoint,) = checkpoints_in(output)
    assert why_incomplete(checkpoint) is None
    assert f"after step {int(checkpoint.name[11:]):,} of" in stopped
    assert {path.name for path in checkpoint.glob("rng_state*")} == {"rng_state_0.pth", "rng_state_1.pth"}
