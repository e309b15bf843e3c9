"""Real processes of earmark, and what ends them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.patience import PATIENCE_S, wait_until
from tests.tiny import overrides

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
