"""``--num_processes N``: the same command in N processes of this machine, started by torch's own launcher.

torch's launcher runs inside this process. It tells the processes their ranks, passes SIGTERM and SIGINT on to them and
ends them all when one fails. Its own report of that (a traceback, and the exit code 1 whatever happened) is left out:
what the rank that failed has said is the last line, and its exit code is the command's.
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

# What a process that was started here finds in its environment: it is not to start others.
_STARTED_HERE = "EARMARK_STARTED_BY_LAUNCH"
_LAUNCHER_LOGGERS = ("torch.distributed.elastic", "torch.distributed.launcher", "torch.distributed.run")
# torch's launcher kills what has not ended so long after a signal; a checkpoint of a large model takes its time.
_MOST_TIME_TO_SAVE_S = 300


class ProcessKilledError(EarmarkError):
    """A rank was ended from outside, so that it could not say why."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def is_to_launch(num_processes: int, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is to start others instead of training.

    Args:
        num_processes: what ``--num_processes`` says.
        environment: variables of the process.

    Raises:
        UsageError: a number below 1, or a launcher has started this process already.
    """
    if _STARTED_HERE in environment:
        return False
    if num_processes < 1:
        raise UsageError(f"--num_processes {num_processes}: expected a whole number from 1 on")
    if is_launched(environment):
        count = environment.get("WORLD_SIZE", "1")
        raise UsageError(
            f"--num_processes {num_processes}: a launcher has started this process already, as one of {count} "
            "(WORLD_SIZE). Leave the flag out, or start earmark without torchrun or accelerate launch."
        )
    return num_processes > 1


def launch(words: Sequence[str], num_processes: int) -> int:
    """Run a Python program in several processes of this machine until all have ended.

    Args:
        words: its file, or ``-m`` and its module, and the words it gets.
        num_processes: how many.

    Returns:
        0; the exit code of the process that failed first; or, after a signal, that of the processes that it ended.

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
        if hasattr(asked, "shutdown_timeout"):  # torch 2.10 and later; else it is 30 s
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
    """Variables for the processes to come; those that the user has set stay."""
    ours = {
        _STARTED_HERE: "1",
        "TORCH_CPP_LOG_LEVEL": "ERROR",  # each rank would warn that no weight went unused
    }
    added = {name: value for name, value in ours.items() if name not in os.environ}
    added |= variables.rank_variables(num_processes)  # without it, torch's launcher gives each process one thread
    before = {name: os.environ[name] for name in added if name in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
        os.environ.update(before)


def _exit_code(failures: Mapping[int, Any], num_processes: int) -> int:
    """That of the rank that failed first, by torch's record of each rank's failure."""
    # what torch's launcher ended with SIGTERM is a consequence, even within the second that it has times in
    by_time = sorted(failures, key=lambda rank: (failures[rank].exitcode == -signal.SIGTERM, failures[rank].timestamp))
    failure = failures[by_time[0]]
    if failure.exitcode >= 0:
        return int(failure.exitcode)
    name = failure.signal_name()
    why = " (mostly because the machine ran out of memory: see dmesg)" if name == "SIGKILL" else ""
    raise ProcessKilledError(
        f"rank {by_time[0]} of {num_processes} was ended by {name}{why}; the others were stopped",
        128 - failure.exitcode,
    )


def _recorded_exit_code(folder: Path) -> int | None:
    """The exit code that ranks wrote down before they left; see :func:`earmark.cli.main.guarded`."""
    for path in sorted(folder.rglob("error.json")):
        with suppress(OSError, ValueError, LookupError, TypeError):
            return int(json.loads(path.read_text(encoding="utf-8"))["message"]["errorCode"])
    return None
