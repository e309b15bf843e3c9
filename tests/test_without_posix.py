"""Train, resume, predict, label and serve on this system; on Linux, without what Windows lacks (``without_posix``).

Each command runs in a process of its own, as people start it.
"""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

import earmark
from tests.patience import PATIENCE_S, give_servers_time, wait_until
from tests.posix_names import missing_on_windows
from tests.tiny import write_tones

pytestmark = pytest.mark.slow
give_servers_time()
HERE = Path(__file__).parent
IMITATES = sys.platform == "linux"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def environment(work: Path) -> dict[str, str]:
    source = Path(earmark.__file__).parents[1]
    folders = [*([HERE / "without_posix"] if IMITATES else []), source, os.environ.get("PYTHONPATH", "")]
    imitation = {
        "PYTHONWARNDEFAULTENCODING": "1",
        "WITHOUT_POSIX": json.dumps(missing_on_windows()),
        "WITHOUT_POSIX_WORK": str(work),
    }
    return (
        os.environ
        | (imitation if IMITATES else {})
        | {
            "PYTHONPATH": os.pathsep.join(map(str, folders)),
            "PYTHONIOENCODING": "cp1252",
            "EARMARK_STORE": str(work / "store"),
            "OMP_NUM_THREADS": "1",
        }
    )


class Commands:
    """Commands of earmark in processes of their own, with the working folder ``work``."""

    def __init__(self, work: Path, environment: dict[str, str]) -> None:
        self.work, self.environment = work, environment

    def run(self, *words: object) -> str:
        """Run one to its end and return what it logged."""
        command = [sys.executable, "-m", "earmark", *map(str, words)]
        done = subprocess.run(
            command, cwd=self.work, env=self.environment, capture_output=True, encoding="cp1252", timeout=PATIENCE_S
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done.stderr

    @contextmanager
    def serving(self, pattern: str, *words: object) -> Iterator[re.Match[str]]:
        """A server; yields what ``pattern`` found in its output."""
        log = self.work.parent / f"{words[0]}.log"
        command = [sys.executable, "-m", "earmark", *map(str, words)]
        with open(log, "wb") as stream:
            process = subprocess.Popen(
                command,
                cwd=self.work,
                env=self.environment,
                stdout=stream,
                stderr=stream,
                creationflags=getattr(
                    subprocess, "CREATE_NEW_PROCESS_GROUP", 0
                ),  # Ctrl-Break is for this process alone
            )
        try:
            wait_until(lambda: re.search(pattern, log.read_text("cp1252")) or process.poll() is not None)
            found = re.search(pattern, log.read_text("cp1252"))
            assert found is not None, log.read_text("cp1252")
            yield found
            process.send_signal(getattr(signal, "CTRL_BREAK_EVENT", signal.SIGINT))
            assert process.wait(PATIENCE_S) == 0, log.read_text("cp1252")
            assert "Traceback" not in log.read_text("cp1252")
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def commands(work: Path, environment: dict[str, str]) -> Commands:
    return Commands(work, environment)


TRAIN = (
    *("train", "--data_dir", "tones", "--model_type", "tc_resnet", "--device", "cpu", "--output_dir", "run"),
    *("--per_device_train_batch_size", "8", "--dataloader_num_workers", "1", "--dataloader_persistent_workers", "True"),
)


@pytest.fixture(scope="module")
def run(commands: Commands, work: Path) -> Path:
    write_tones(work / "tones", per_class=8, seconds=0.3)
    commands.run(*TRAIN, "--num_train_epochs", "1")
    return work / "run"


@pytest.mark.skipif(not IMITATES, reason="only Linux imitates Windows")
def test_the_names_are_missing(commands: Commands) -> None:
    """Guards the tests below: without it they would pass on any code."""
    code = (
        "import sys, types; import earmark.io.atomic; import os\n"
        "assert not hasattr(earmark.io.atomic.os, 'O_DIRECTORY') and hasattr(os, 'O_DIRECTORY')\n"
        "import earmark.store.flat_file as flat; assert flat._read_at is flat._seek_and_read\n"
        "import multiprocessing; assert multiprocessing.get_start_method() == 'spawn'\n"
        "for attempt in (lambda: os.remove('open'), lambda: os.rename('open', 'b'), lambda: os.replace('b', 'open'),\n"
        "                lambda: open('a:b', 'w'), lambda: open('nul.txt', 'w'), lambda: os.symlink('open', 'c'),\n"
        "                lambda: os.rename('b', 'd'), lambda: open('/proc/stat')):\n"
        "    with open('open', 'w'), open('b', 'w') as b, open('d', 'w') as d:\n"
        "        b.close(), d.close()\n"
        "        try: attempt()\n"
        "        except OSError as exc: continue\n"
        "        raise AssertionError\n"
    )
    (commands.work / "guard").mkdir()
    subprocess.run([sys.executable, "-c", code], cwd=commands.work / "guard", env=commands.environment, check=True)


def test_train_and_resume(commands: Commands, run: Path) -> None:
    steps = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["train"]["steps"]
    logged = commands.run(*TRAIN, "--num_train_epochs", "2", "--resume")
    assert "resuming from" in logged
    assert json.loads((run / "metrics.json").read_text(encoding="utf-8"))["train"]["steps"] == 2 * steps
    assert not list(run.glob("_in_use*"))


def test_predict(commands: Commands, run: Path, work: Path) -> None:
    (work / "labels.csv").write_text("an earlier file", encoding="utf-8")
    commands.run("predict", run, "tones", "--output", "labels.csv", "--overwrite", "--device", "cpu")
    with open(work / "labels.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["path"] for row in rows} == {str(path.relative_to(work)) for path in (work / "tones").rglob("*.wav")}
    assert b"\r" not in (work / "labels.csv").read_bytes()


def test_label(commands: Commands, run: Path, work: Path) -> None:
    words = ("label", "tones", "--model", run, "--output_dir", "labelled", "--port", "0")
    with commands.serving(r"(http://127\.0\.0\.1:\d+)/#(\S+)", *words, "--device", "cpu") as found:
        decision = {"was": None, "now": ["label", "low"]}
        answer = httpx.post(f"{found[1]}/clips/0/decide", json=decision, headers={"X-Earmark-Token": found[2]})
        assert answer.status_code == 200, answer.text
    with open(work / "labelled" / "labels.csv", encoding="utf-8", newline="") as stream:
        [row] = csv.DictReader(stream)
    assert row["label"] == "low"


def test_serve(commands: Commands, run: Path, work: Path) -> None:
    recording = next((work / "tones").rglob("*.wav"))
    with commands.serving(r'"listening".*?"port": ?(\d+)', "serve", run, "--port", "0", "--device", "cpu") as found:
        answer = httpx.post(f"http://127.0.0.1:{found[1]}/v1/classify", content=recording.read_bytes())
        assert answer.status_code == 200, answer.text
