"""Run the same command in N processes on this machine (``--num_processes N``) with torch's launcher.

torch's launcher runs inside this process. It passes ranks, SIGTERM and SIGINT to the processes and ends all of them if
one fails. Its own report (a traceback, and always exit code 1) is suppressed: the last line is the message of the rank
that failed, and the command exits with that rank's code.
"""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from earmark.distributed.launched import is_launched
from earmark.errors import EarmarkError, UsageError
from earmark.threads import variables

# Set in the environment of the processes started here, so that they do not start others.
_STARTED_HERE = "EARMARK_STARTED_BY_LAUNCH"
_LAUNCHER_LOGGERS = ("torch.distributed.elastic", "torch.distributed.launcher", "torch.distributed.run")
# After a signal, torch's launcher kills processes that still run after this time. Saving a large model takes long.
_MOST_TIME_TO_SAVE_S = 300


class ProcessKilledError(EarmarkError):
    """A signal ended a rank before it could report anything."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def is_to_launch(num_processes: int, environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether this process must start other processes instead of training.

    Args:
        num_processes: value of ``--num_processes``.
        environment: environment variables of this process.

    Raises:
        UsageError: the number is below 1, or a launcher started this process.
    """
    if _STARTED_HERE in environment:
        return False
    if num_processes < 1:
        raise UsageError(f"--num_processes {num_processes}: not a number of processes. Use 1 or more.")
    if is_launched(environment):
        count = environment.get("WORLD_SIZE", "1")
        raise UsageError(
            f"--num_processes {num_processes}: a launcher already started this process as one of {count} "
            "(WORLD_SIZE). Leave the flag out, or start earmark without torchrun or accelerate launch."
        )
    return num_processes > 1


def launch(words: Sequence[str], num_processes: int) -> int:
    """Run a Python program in several processes on this machine until all have ended.

    Args:
        words: the program's file, or ``-m`` and its module, then its arguments.
        num_processes: number of processes.

    Returns:
        0, or the exit code of the process that failed first. If a signal ended this process: the exit code that a rank
        recorded, or 128 plus the number of the signal.

    Raises:
        ProcessKilledError: a process was killed by a signal.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    for name in _LAUNCHER_LOGGERS:
        logging.getLogger(name).handlers = [logging.NullHandler()]
        logging.getLogger(name).propagate = False
    with TemporaryDirectory(prefix="earmark-ranks-") as folder:
        flags = ["--standalone", "--local_addr=127.0.0.1", f"--nproc_per_node={num_processes}", f"--log_dir={folder}"]
        asked = parse_args([*flags, *words])
        if hasattr(asked, "shutdown_timeout"):  # torch 2.10 and later; earlier versions wait 30 s
            asked.shutdown_timeout = _MOST_TIME_TO_SAVE_S
        try:
            with _environment(num_processes):
                run(asked)
        except ChildFailedError as exc:
            return _exit_code(exc.failures, num_processes)
        except SignalException as exc:
            return _recorded_exit_code(Path(folder)) or 128 + exc.sigval
    return 0


@contextmanager
def _environment(num_processes: int) -> Iterator[None]:
    """Set environment variables for the new processes, except those that the user has set."""
    ours = {
        _STARTED_HERE: "1",
        "TORCH_CPP_LOG_LEVEL": "ERROR",  # suppress each rank's warning that no weight is unused
    }
    added = {name: value for name, value in ours.items() if name not in os.environ}
    added |= variables.rank_variables(num_processes)  # otherwise torch's launcher gives each process one thread
    before = {name: os.environ[name] for name in added if name in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
        os.environ.update(before)


def _exit_code(failures: Mapping[int, Any], num_processes: int) -> int:
    """Return the exit code of the rank that failed first, according to torch's records."""
    # torch's launcher ends the other ranks with SIGTERM. Its times are whole seconds and do not tell which rank failed
    # first, so ranks that SIGTERM ended are sorted last.
    by_time = sorted(failures, key=lambda rank: (failures[rank].exitcode == -signal.SIGTERM, failures[rank].timestamp))
    failure = failures[by_time[0]]
    if failure.exitcode >= 0:
        return int(failure.exitcode)
    name = failure.signal_name()
    why = " (usually because the machine ran out of memory: see dmesg)" if name == "SIGKILL" else ""
    raise ProcessKilledError(
        f"{name} ended rank {by_time[0]} of {num_processes}{why}, and the other ranks were stopped. Run the same "
        "command with --resume to continue.",
        128 - failure.exitcode,
    )


def _recorded_exit_code(folder: Path) -> int | None:
    """Return the exit code that ranks recorded before they ended; see :func:`earmark.cli.main.guarded`."""
    for path in sorted(folder.rglob("error.json")):
        with suppress(OSError, ValueError, LookupError, TypeError):
            return int(json.loads(path.read_text(encoding="utf-8"))["message"]["errorCode"])
    return None
