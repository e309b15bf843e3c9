"""``--num_processes``, torchrun on two machines, FSDP: the command line in several real processes."""

from __future__ import annotations

import json
import signal
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from earmark.cli import train_command as cli_train
from earmark.cli.main import main
from earmark.device import check_processes_fit
from earmark.distributed.launch import _exit_code, is_to_launch
from earmark.errors import DeviceError, UsageError
from earmark.threads.cores import this_process
from tests.distributed.processes import ROOT, running, wait_for, words_of
from tests.patience import PATIENCE_S
from tests.tiny import write_tones


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("data"), per_class=6, seconds=0.2)


def test_who_is_to_launch() -> None:
    assert is_to_launch(2, {})
    assert not is_to_launch(1, {})
    with pytest.raises(UsageError, match=r"--num_processes 0: not a number of processes"):
        is_to_launch(0, {})
    with pytest.raises(UsageError, match=r"a launcher already started this process as one of 4 .* Leave the flag"):
        is_to_launch(2, {"WORLD_SIZE": "4", "LOCAL_RANK": "0"})
    assert is_to_launch(2, {"WORLD_SIZE": "4"})  # a cluster's own variable


def test_more_processes_than_cards(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from earmark import device

    class TwoCards:
        is_available = staticmethod(lambda: True)
        device_count = staticmethod(lambda: 2)

    monkeypatch.setattr(device, "_backend", lambda kind: TwoCards if kind == "npu" else None)
    monkeypatch.setattr("torch.device", lambda kind, index=None: type("Device", (), {"type": kind}))
    with pytest.raises(DeviceError, match=r"--num_processes 8: this machine has 2 npu devices, and each process needs"):
        check_processes_fit("npu", 8)
    with pytest.raises(DeviceError, match=r"--num_processes 2 --device npu:1: that is one device\. Use --device npu"):
        check_processes_fit("npu:1", 2)
    check_processes_fit("auto", 2)
    with pytest.raises(DeviceError, match="--num_processes 8"):
        run_train(words_of(data, tmp_path / "run", "--num_processes", "8", "--device", "npu")[1:])


def test_what_the_launcher_ended_itself_is_not_the_cause() -> None:
    failures = {rank: ProcessFailure(rank, 1, code, "") for rank, code in ((0, -signal.SIGTERM), (1, 2))}
    failures[1].timestamp = failures[0].timestamp
    assert _exit_code(failures, 2) == 2


# the launcher itself, with programs that take no time to start


def launching(program: str, folder: Path) -> list[str]:
    """Words for Python: what ``earmark train --num_processes 2`` does, with ``program`` in place of training."""
    path = folder / "program.py"
    path.write_text("import os, signal, sys, time\n" + textwrap.dedent(program))
    call = f"lambda: sys.exit(launch([{str(path)!r}], 2))"
    lines = ["import sys", "from earmark.cli.main import guarded", "from earmark.distributed.launch import launch"]
    return ["-c", "; ".join([*lines, f"sys.exit(guarded({call}, False))"])]


def outcome(program: str, folder: Path) -> tuple[int, str]:
    """Exit code and what went to stderr."""
    with running(launching(program, folder), folder / "store") as process:
        err = process.communicate(timeout=PATIENCE_S)[1]
    return process.returncode, err


def test_all_is_well(tmp_path: Path) -> None:
    program = """
        assert os.environ["WORLD_SIZE"] == "2"
        # one write: print makes two, between which the other rank's may fall
        os.write(2, (os.environ["OMP_NUM_THREADS"] + "\\n").encode())
    """
    assert outcome(program, tmp_path) == (0, f"{this_process().threads(2)}\n" * 2)


@pytest.mark.slow
def test_what_a_rank_says_is_the_last_line_and_its_exit_code_counts(tmp_path: Path) -> None:
    program = """
        from earmark.cli.main import guarded
        from earmark.errors import DataError

        def fail():
            if os.environ["RANK"] == "1":
                raise DataError("no such folder")
            time.sleep(900)

        sys.exit(guarded(fail, False))
    """
    assert outcome(program, tmp_path) == (2, "earmark: rank 1: error: no such folder\n")


@pytest.mark.slow
def test_a_rank_that_is_killed_is_named(tmp_path: Path) -> None:
    program = """
        if os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(900)
    """
    code, err = outcome(program, tmp_path)
    assert code == 137
    assert err.startswith("earmark: error: SIGKILL ended rank 1 of 2 (usually because the machine ran out of ")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_reach_the_ranks_and_their_exit_code_comes_back(number: signal.Signals, tmp_path: Path) -> None:
    program = """
        from earmark.cli.main import tell_launcher

        def save_and_leave(number, frame):
            time.sleep(0.5)
            open(f"saved{os.environ['RANK']}", "w").write(signal.Signals(number).name)
            tell_launcher("stopped", 75)
            sys.exit(75)

        signal.signal(signal.SIGTERM, save_and_leave)
        signal.signal(signal.SIGINT, save_and_leave)
        open(f"ready{os.environ['RANK']}", "w").close()
        time.sleep(900)
    """
    with running(launching(program, tmp_path), tmp_path / "store", tmp_path) as process:
        wait_for(lambda: len(list(tmp_path.glob("ready*"))) == 2, process)
        process.send_signal(number)
        err = process.communicate(timeout=PATIENCE_S)[1]
    assert (process.returncode, err) == (75, "")
    assert [(tmp_path / f"saved{rank}").read_text() for rank in range(2)] == [number.name] * 2


@pytest.mark.slow
def test_signals_to_ranks_that_do_not_save(tmp_path: Path) -> None:
    program = "open(f\"ready{os.environ['RANK']}\", 'w').close()\ntime.sleep(900)"
    with running(launching(program, tmp_path), tmp_path / "store", tmp_path) as process:
        wait_for(lambda: len(list(tmp_path.glob("ready*"))) == 2, process)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + signal.SIGTERM


# training


@pytest.mark.slow
def test_one_command_trains_in_two_processes(data: Path, tmp_path: Path) -> None:
    """Of the old script, with a leading file of settings; ``earmark train`` launches by the same lines."""
    (tmp_path / "two.yaml").write_text("num_processes: 2\nnum_train_epochs: 1\n")
    words = [str(ROOT / "run_audio_classification.py"), "two.yaml", "--do_train", "--do_eval"]
    with running([*words, *words_of(data, tmp_path / "run")[1:]], tmp_path / "store", tmp_path) as process:
        out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert out.count("validation: accuracy ") == 1
    assert "training: 3 steps of 4 clips" in err
    assert "num_processes" not in (tmp_path / "run" / "run_config.yaml").read_text()
    results, metrics = (
        json.loads((tmp_path / "run" / f"{name}.json").read_text()) for name in ("all_results", "metrics")
    )
    assert results["eval_accuracy"] == metrics["validation"]["accuracy"]
    assert (results["train_samples"], results["epoch"]) == (metrics["train"]["clips"], 1.0)
    assert results["train_samples_per_second"] == pytest.approx(metrics["train"]["samples_per_second"], abs=1e-3)


@pytest.mark.slow
def test_what_all_ranks_refuse_is_said_once(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "run_config.yaml").write_text("seed: 1\n")
    words = ["-m", "earmark", *words_of(data, run, "--num_processes", "2")]
    with running(words, tmp_path / "store", tmp_path) as process:
        err = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 2
    assert err.count("holds a run already") == 1
    assert "rank 1" not in err


def run_train(words: list[str]) -> None:
    cli_train.COMMAND.does(cli_train.COMMAND.read(words)[0])


@pytest.mark.parametrize("run", [run_train, cli_train.run_example])
def test_both_command_lines_launch(
    run: Callable[[list[str]], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is given to the launcher; that it starts it is tested above."""
    launched: list[list[str]] = []
    monkeypatch.setattr(
        "earmark.distributed.launch.launch", lambda words, count: launched.append([*words, count]) or 75
    )
    words = words_of(tmp_path, tmp_path / "run", "--num_processes", "3")[1:]
    if run is not run_train:
        words.append("--do_train")
    with pytest.raises(SystemExit) as left:
        run(words)
    assert left.value.code == 75
    command = ["earmark", "train"] if run is run_train else ["earmark.cli.example"]
    assert launched == [["-m", *command, *words, 3]]


def test_one_rank_evaluates(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = words_of(data, tmp_path / "run", "--max_steps", "1", "--save_strategy", "no")
    assert main(words) == 0
    judge = ["evaluate", str(tmp_path / "run"), "--data_dir", str(data), "--device", "cpu", "--output_dir"]
    for rank, is_there in (("1", False), ("0", True)):
        monkeypatch.setenv("RANK", rank)
        assert main([*judge, str(tmp_path / "out")]) == 0
        assert (tmp_path / "out" / "metrics.json").exists() == is_there
