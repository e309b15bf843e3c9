"""One process in a folder at a time, however the others ended."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from earmark.errors import DataError, OutputError
from earmark.io import locks
from earmark.runs.folder import RunFolder, prepare_output_dir
from earmark.runs.folder_lock import LOCK_FILE, locked_folder
from tests.patience import PATIENCE_S

HOLDS = """
import os, sys
from pathlib import Path
from earmark.runs.folder_lock import locked_folder
with locked_folder(Path(sys.argv[1])):
    if "worker" not in sys.argv:
        print(os.getpid(), -1, flush=True)
    elif os.fork() == 0:  # the worker speaks, when it is there and has let go
        print(os.getppid(), os.getpid(), flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process(folder: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that holds the folder until its input ends, and the worker that it forked where it was asked to."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(folder), *words], stdin=pipe, stdout=pipe, text=True
    ) as process:
        assert process.stdout is not None
        try:
            pid, worker = map(int, process.stdout.readline().split())
            assert pid == process.pid
            yield process, worker
        finally:
            process.kill()
            assert process.stdin is not None
            process.stdin.close()


def test_a_folder_that_stays_empty_is_removed_again(tmp_path: Path) -> None:
    place = tmp_path / "runs" / "x"

    def refused(name: str) -> None:
        with locked_folder(place):
            assert (place / LOCK_FILE).is_file()
            if name:
                (place / name).write_text("")
            raise DataError("wrong data")

    with pytest.raises(DataError):
        refused("")
    assert not (tmp_path / "runs").exists()
    with pytest.raises(DataError):
        refused("run_config.yaml")
    assert [path.name for path in place.iterdir()] == ["run_config.yaml"]
    (tmp_path / "mine").mkdir()
    with locked_folder(tmp_path / "mine"):
        pass
    assert (tmp_path / "mine").is_dir(), "it was there before"


def test_a_second_process_is_told_of_the_first_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with another_process(folder) as (process, _):
        told = f"^{folder}: process {process.pid} on .* works in it. Wait for it, end it, or give another"
        for _ in range(2):
            with pytest.raises(OutputError, match=told), locked_folder(folder):
                pass
        process.kill()
        process.wait(PATIENCE_S)
        with locked_folder(folder):
            with pytest.raises(OutputError, match=f"process {os.getpid()} on "), locked_folder(folder):
                pass
            assert RunFolder(folder).foreign_files() == []
    assert not list(folder.iterdir())


def test_a_process_that_ends_by_itself_leaves_no_file(tmp_path: Path) -> None:
    with another_process(tmp_path) as (process, _):
        process.communicate()
        assert process.returncode == 0
        assert not list(tmp_path.iterdir())


def test_a_worker_that_outlives_its_process_holds_nothing(tmp_path: Path) -> None:
    with another_process(tmp_path, "worker") as (process, worker):
        process.kill()
        process.wait(PATIENCE_S)
        os.kill(worker, 0)  # it is there
        with locked_folder(tmp_path):
            pass


LEAVES = """
import os, sys
from pathlib import Path
from earmark.runs.folder_lock import LOCK_FILE, locked_folder
with locked_folder(Path(sys.argv[1])):
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        print(status, (Path(sys.argv[1]) / LOCK_FILE).exists(), flush=True)
"""


def test_a_child_that_leaves_the_block_leaves_the_lock_to_its_parent(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LEAVES, str(tmp_path)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("0 True\n", "")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_removed_before_it_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process before let go between opening and locking: the lock is on a file that nobody else can meet."""
    lock = fcntl.flock
    times = []

    def late(descriptor: int, how: int) -> None:
        times.append(how)
        if len(times) == 1:
            (tmp_path / LOCK_FILE).unlink()
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with locked_folder(tmp_path):
        assert len(times) == 2
        with pytest.raises(OutputError, match=f"process {os.getpid()} on "), locked_folder(tmp_path):
            pass


def test_a_file_system_without_locks_is_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    locks._warn_unlocked.cache_clear()
    with locked_folder(tmp_path), locked_folder(tmp_path / "fold_1"):
        pass
    assert [record.message for record in caplog.records] == [
        "output folder: the file system does not support locks (No locks available). Do not let two commands use this "
        "output folder at the same time"
    ]


def test_the_file_is_nobodys_and_stays_while_a_run_is_replaced(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with locked_folder(tmp_path):
        assert not folder.foreign_files()
        folder.config.write_text("{}")
        prepare_output_dir(folder, overwrite=True, resume=False)
        assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK_FILE, "_in_use.txt"]


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, reason in ((tmp_path / "file", "a file is in the way"), (Path("/proc/run"), "No such file")):
        with pytest.raises(OutputError, match=f"{path}: .*{reason}"), locked_folder(path):
            pass
