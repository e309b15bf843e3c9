"""``--num_processes``, torchrun on two machines, FSDP: the command line in several real processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from earmark.cli import train_command as cli_train
from earmark.cli.main import main
from earmark.device import check_processes_fit
from earmark.distributed.launch import _exit_code, is_to_launch
from earmark.errors import DeviceError, UsageError
from earmark.threads.cores import this_process
from tests.patience import PATIENCE_S, wait_until
from tests.tiny import overrides, write_tones

ROOT = Path(__file__).parents[2]


def environment(store: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    paths = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
    return {**kept, "PYTHONPATH": paths, "EARMARK_STORE": str(store), "HF_HUB_OFFLINE": "1"}


@contextmanager
def running(
    words: list[str], store: Path, cwd: Path | None = None, more: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """``python WORDS``, ended in any case with all it has started."""
    process = subprocess.Popen(
        [sys.executable, *words],
        env=environment(store) | (more or {}),
        cwd=cwd,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        kill_with_children(process.pid)
        if process.stdout is not None and not process.stdout.closed:
            process.communicate()


def kill_with_children(pid: int) -> None:
    """What the loss of its machine does to a process."""
    stat = {entry.name: entry / "stat" for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    children = [int(name) for name, path in stat.items() if parent_of(path) == pid]
    for victim in (pid, *children):  # first the parent, so that it starts no others
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            continue


def parent_of(stat: Path) -> int | None:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has ended meanwhile
        return None


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    wait_until(lambda: condition() or process.poll() is not None)
    assert process.poll() is None, process.communicate()


def words_of(data: Path | str, run: Path, *more: str) -> list[str]:
    words = ["train", "--data_dir", str(data), "--model_type", "wav2vec2", "--config_overrides", overrides("wav2vec2")]
    words += ["--device", "cpu", "--output_dir", str(run), "--learning_rate", "1e-3", "--disable_tqdm", "true"]
    return [*words, "--per_device_train_batch_size", "2", *more]


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


def ranks_of(words: list[str], folders: list[Path]) -> list[tuple[int, str]]:
    """Start a rank in each folder, as so many machines; exit code and stderr of each."""
    port = str(free_port())
    with ExitStack() as stack:
        ranks = []
        for rank, folder in enumerate(folders):
            own = {"RANK": str(rank), "GROUP_RANK": str(rank), "LOCAL_RANK": "0", "WORLD_SIZE": str(len(folders))}
            own |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
            ranks.append(stack.enter_context(running(words, folder / "store", folder, own)))
        return [(process.wait(PATIENCE_S), process.communicate()[1]) for process in ranks]


@pytest.mark.slow
def test_machines_that_see_other_recordings_stop_at_once(tmp_path: Path) -> None:
    """The same words, the same path, and a folder that is still being copied to the second machine."""
    for name, count in (("a", 6), ("b", 5)):
        (tmp_path / name).mkdir()
        write_tones(tmp_path / name / "recordings", per_class=count, seconds=0.2)
    words = words_of("recordings", tmp_path / "run", "--num_train_epochs", "1")
    (code, said), (other_code, other_said) = ranks_of(["-m", "earmark", *words], [tmp_path / "a", tmp_path / "b"])
    assert (code, other_code) == (2, 2)
    host = socket.gethostname()
    expected = (
        f"rank 1 on {host}/1 differs from rank 0 on {host}/0: training clips 10 not 12, validation clips 4 not 6, "
    )
    assert expected in said
    assert said.splitlines()[-1].startswith("earmark: error: ")
    assert "rank 1: error: rank 1 on" in other_said  # in its own log, too: there was no launcher to end it
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.slow
def test_machines_that_read_other_settings_stop_at_once(tmp_path: Path) -> None:
    """Each would wait for the other at other steps, for half an hour."""
    write_tones(tmp_path / "recordings", per_class=4, seconds=0.2)
    for name, steps in (("a", 3), ("b", 4)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "own.yaml").write_text(f"eval_strategy: steps\neval_steps: {steps}\nsave_strategy: 'no'\n")
    words = words_of(tmp_path / "recordings", tmp_path / "run", "--max_steps", "12", "--config", "own.yaml")
    (code, said), (other_code, _) = ranks_of(["-m", "earmark", *words], [tmp_path / "a", tmp_path / "b"])
    assert (code, other_code) == (2, 2)
    assert "--eval_steps 4.0 not 3.0" in said.splitlines()[-1]


@pytest.mark.slow
def test_a_machine_without_recordings_is_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    write_tones(tmp_path / "a" / "recordings", per_class=4, seconds=0.2)
    words = words_of("recordings", tmp_path / "run", "--num_train_epochs", "1")
    (code, said), (other_code, _) = ranks_of(["-m", "earmark", *words], [tmp_path / "a", tmp_path / "b"])
    assert (code, other_code) == (2, 2)
    assert said.splitlines()[-1].startswith(f"earmark: error: rank 1 on {socket.gethostname()}/1: recordings: no such")


@pytest.mark.slow
def test_machines_with_stores_of_their_own_train_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each decodes its recordings and computes the frozen part; only the run folder is shared."""
    for name in ("a", "b"):
        write_tones(tmp_path / name / "recordings", per_class=5, seconds=0.2)
    words = words_of("recordings", tmp_path / "two", "--freeze", "encoder", "--num_train_epochs", "2")
    words += ["--global_batch_size", "4"]
    for code, said in ranks_of(["-m", "tests.train.in_float32", *words], [tmp_path / "a", tmp_path / "b"]):
        assert code == 0, said
    assert len(list((tmp_path / "b" / "store").glob("*/samples.bin"))) == 2
    monkeypatch.chdir(tmp_path / "a")
    monkeypatch.setattr("earmark.device.supports_bf16", lambda _: False)
    assert main([word if word != str(tmp_path / "two") else str(tmp_path / "one") for word in words]) == 0
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, atol=2e-5, err_msg=name)


@pytest.mark.slow
def test_two_machines_of_which_one_is_lost_and_comes_back(data: Path, tmp_path: Path) -> None:
    """Two of torch's agents that meet on loopback; nothing is shared but the folders and the address."""
    port = free_port()
    flags = [
        "--nnodes",
        "2",
        "--nproc_per_node",
        "1",
        "--max_restarts",
        "3",
        "--rdzv_backend",
        "c10d",
        "--rdzv_id",
        "job",
    ]
    flags += [
        "--rdzv_endpoint",
        f"127.0.0.1:{port}",
        "--rdzv_conf",
        "keep_alive_interval=1",
        "--local_addr",
        "127.0.0.1",
    ]
    run, store = tmp_path / "run", tmp_path / "store"
    words = words_of(data, run, "--resume", "--max_steps", "150", "--eval_strategy", "no", "--save_total_limit", "99")
    words += ["--save_strategy", "steps", "--save_steps", "10"]
    agent = ["-m", "torch.distributed.run", *flags, "-m", "earmark", *words]
    own = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"}
    with running(agent, store, more=own) as first:
        wait_for(lambda: is_open(port), first)  # it keeps the meeting point, the other can be lost
        with running(agent, store, more=own) as second:
            wait_for(lambda: (run / "checkpoint-10" / "trainer_state.json").exists(), first)
            kill_with_children(second.pid)
        written = (run / "checkpoint-10" / "trainer_state.json").stat().st_mtime
        with running(agent, store, more=own) as again:
            out, err = first.communicate(timeout=PATIENCE_S)
            assert again.wait(PATIENCE_S) == 0
    assert first.returncode == 0, err
    assert "earmark: error: the connection to another rank was lost" in err
    assert out.count("validation: accuracy ") == 1
    assert json.loads((run / "checkpoint-150" / "trainer_state.json").read_text())["global_step"] == 150
    assert (run / "checkpoint-10" / "trainer_state.json").stat().st_mtime == written  # it did not start again


def free_port() -> int:
    """A port that nobody uses; below those the system gives away by itself, so that no other process gets it."""
    first = 20_000 + os.getpid() % 10_000
    for port in range(first, first + 1_000):
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port
    raise AssertionError(f"no free port from {first} on")


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
