from __future__ import annotations

import logging
import os
import resource
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch.distributed as dist

from earmark.cli import main as cli
from earmark.cli.command_table import COMMANDS
from earmark.errors import DataError, EarmarkError, Stopped, UsageError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what main does to the process: its logger and its environment."""
    logger = logging.getLogger("earmark")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(logger, "level", logging.NOTSET)
    for name in ("TRANSFORMERS_VERBOSITY", "DATASETS_VERBOSITY", "HF_HUB_VERBOSITY"):
        monkeypatch.setenv(name, "warning")
    monkeypatch.delenv("EARMARK_DEBUG", raising=False)


def run(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **env}
    command = [sys.executable, "-m", "earmark", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def raising(error: BaseException) -> None:
    raise error


def cpu_seconds(command: list[str]) -> float:
    """CPU time of a process; the clock would measure how busy the machine is."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def test_help_comes_in_under_300_ms_and_without_torch() -> None:
    done = run("--help")  # warms the file cache
    assert done.returncode == 0
    of_help = min(cpu_seconds([sys.executable, "-m", "earmark", "--help"]) for _ in range(3))
    of_python = min(cpu_seconds([sys.executable, "-c", "pass"]) for _ in range(3))
    # about 7 times Python alone; importing torch would make it more than 50 times
    assert of_help < max(0.3, 20 * of_python)
    for command in COMMANDS:
        assert f"\n  {command} " in done.stdout
    code = "import sys; from earmark.cli.main import main; main(['train', '--help']); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers"} & set(loaded.stdout.split())


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_no_words_show_the_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 0
    assert "usage: earmark COMMAND" in capsys.readouterr().out


def test_version_names_what_a_bug_report_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("earmark ")
    for name in ("Python 3.", "numpy ", "onnxruntime ", "soundfile ", "soxr ", "torch 2.", "transformers "):
        assert name in out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_page(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"earmark {command}: ")
    assert "usage: earmark " in out
    assert max(map(len, out.splitlines())) <= 112


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("trian", "earmark: error: unknown command trian; did you mean train?\n"),
        ("xyz", "earmark: error: unknown command xyz: expected quickstart, inspect, "),
    ],
)
def test_an_unknown_command(command: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command]) == 2
    assert capsys.readouterr().err.startswith(line)


def test_a_flag_of_training_on_another_command() -> None:
    done = run("evaluate", "runs/first", "--overwrite_output_dir")
    assert done.returncode == 2
    line = "unknown flag --overwrite_output_dir: a flag of earmark train, not of this command. Leave it out."
    assert done.stderr == f"earmark: error: {line}\n"


@pytest.mark.parametrize("command", ["predict", "embed", "evaluate", "calibrate", "serve", "label", "export"])
def test_a_run_folder_that_is_not_there(command: str, tmp_path: Path) -> None:
    """It is reported before the hub is asked and before torch is imported, with the names that are there."""
    (tmp_path / "runs" / "first").mkdir(parents=True)
    words = {
        "evaluate": ["runs/frist", "--data_dir", "."],
        "calibrate": ["runs/frist", "--data_dir", "."],
        "embed": ["runs/frist", ".", "--output", "out.parquet"],
        "label": [".", "--model", "runs/frist"],
        "export": ["runs/frist", "--output", "out"],
        "serve": ["runs/frist"],
    }
    program = (
        "import sys; from earmark.cli.main import main; code = main(sys.argv[1:]);"
        "print('torch' in sys.modules, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, command, *words.get(command, ["runs/frist", "."])],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9"},
        check=False,
    )
    line = "runs/frist: no such folder; did you mean runs/first? For a model on the hub, write hf://runs/frist."
    assert (done.returncode, done.stderr) == (2, f"earmark: error: {line}\nFalse\n")


def test_warnings_of_torch_about_settings_that_are_right(recwarn: pytest.WarningsRecorder) -> None:
    from torch.utils.data import DataLoader

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        cli.set_up_logging()
        DataLoader(range(4), num_workers=512)  # starts none before it is iterated
    assert not recwarn.list


def test_a_users_mistake_is_one_line_and_exit_code_2() -> None:
    done = run("train", "--lerning_rate", "3")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "earmark: error: unknown flag --lerning_rate; did you mean --learning_rate?\n"


@pytest.mark.parametrize(("words", "env"), [(["--debug"], {}), ([], {"EARMARK_DEBUG": "1"})])
def test_debug_shows_the_traceback_too(words: list[str], env: dict[str, str]) -> None:
    done = run("train", *words, "--lerning_rate", "3", **env)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.endswith("did you mean --learning_rate?\n")


def test_debug_of_the_trainer_stays_the_trainers() -> None:
    words = ["train", "--debug", "underflow_overflow", "--debug"]
    assert cli._take_debug(words) == (["train", "--debug", "underflow_overflow"], True)
    assert cli._take_debug(words[:-1]) == (words[:-1], False)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("wrong"), 2, "earmark: error: wrong\n"),
        (DataError("a.csv row 3: no label"), 2, "earmark: error: a.csv row 3: no label\n"),
        (KeyboardInterrupt(), 130, "earmark: interrupted\n"),
    ],
)
def test_exit_codes(error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.guarded(lambda: raising(error), debug=False) == code
    assert capsys.readouterr().err == line


def test_a_defect_shows_its_traceback_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.guarded(lambda: raising(ZeroDivisionError("oops")), debug=False) == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError: oops" in err
    assert err.endswith("earmark: this is a defect of earmark, please report it with the lines above\n")


def test_other_ranks_leave_what_the_first_says_to_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They wait: a launcher ends them when rank 0 has failed, too. Else nobody would say what is wrong."""
    monkeypatch.setenv("RANK", "3")
    waited: list[float] = []
    monkeypatch.setattr(cli.time, "sleep", waited.append)
    assert cli.guarded(lambda: raising(UsageError("wrong")), debug=False) == 2
    assert waited == [cli._RANK_0_SPEAKS_WITHIN_S]
    assert capsys.readouterr().err == "earmark: rank 3: error: wrong\n"
    assert cli.guarded(lambda: raising(DataError("gone")), debug=False) == 2
    assert len(waited) == 1
    assert capsys.readouterr().err == "earmark: rank 3: error: gone\n"


def test_a_launcher_is_told_what_ended_a_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    assert cli.guarded(lambda: raising(DataError("no such folder")), debug=False) == 2
    failure = ProcessFailure(local_rank=0, pid=1, exitcode=2, error_file=str(tmp_path / "error.json"))
    assert failure.message["extraInfo"]["py_callstack"] == "earmark: error: no such folder"
    assert failure.timestamp > 1.6e9


@pytest.mark.parametrize(("rank", "shown"), [("0", "news\ntrouble\n"), ("1", "trouble\n")])
def test_the_first_rank_speaks(
    rank: str, shown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", rank)
    cli.set_up_logging()
    cli.set_up_logging()  # twice: still one line each
    logging.getLogger("earmark.store").info("news")
    logging.getLogger("earmark.store").error("trouble")
    assert capsys.readouterr().err == shown


def test_a_reader_that_leaves_early_is_no_error() -> None:
    code = "import sys; from earmark.cli.main import guarded; write = lambda: print('x' * 1_000_000)"
    command = f'{sys.executable} -c "{code}; sys.exit(guarded(write, False))" | true; exit ${{PIPESTATUS[0]}}'
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0
    assert done.stderr == ""


def test_the_old_script_reads_the_old_command_line() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    script = str(ROOT / "run_audio_classification.py")
    done = subprocess.run(
        [sys.executable, script, "--evaluation_strategy", "epoch", "--output_dir", "o", "--model_type", "wav2vec2"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "earmark: error: nothing to do. Add --do_train, --do_eval or both.\n"


@pytest.fixture
def group_of_one() -> Iterator[None]:
    """A process group with this process alone in it."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


def of_all_ranks(error: EarmarkError) -> EarmarkError:
    error.of_all_ranks = True
    return error


@pytest.mark.parametrize(
    ("error", "stays"),
    [(None, False), (Stopped("at step 3"), False), (of_all_ranks(DataError("x")), False), (DataError("x"), True)],
)
def test_the_process_group_is_given_back_where_all_ranks_end(
    group_of_one: None, error: EarmarkError | None, stays: bool
) -> None:
    """Threads of gloo at the end of the interpreter abort it now and then: exit code -6 in place of 2."""
    cli.guarded(lambda: None if error is None else raising(error), debug=False)
    assert dist.is_initialized() == stays


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["doctor", "--help"], ["train", "--help"]])
def test_a_wrong_number_of_threads_does_not_stop_help(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARMARK_THREADS", "many")
    assert cli.main(words) == 0


def test_doctor_runs_with_a_wrong_number_of_threads(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EARMARK_THREADS", "many")
    assert cli.main(["doctor", "--device", "none"]) == 2
    assert "--device none" in capsys.readouterr().err, "the command itself has read its flags"
    assert cli.main(["train"]) == 2
    assert "EARMARK_THREADS=many: not a number of threads" in capsys.readouterr().err
