"""Environment variables for CPU threads, set before torch is imported. Values set by the user win.

The OpenMP runtimes read these variables once, when they are loaded:

* ``OMP_NUM_THREADS``: threads of OpenMP, oneDNN and MKL. earmark sets it to the number of cores that this process may
  use, divided by the number of processes that ``--num_processes`` or torchrun starts on this machine. By default torch
  counts all cores of the machine, even if a container may use only two.
* ``KMP_BLOCKTIME``: milliseconds for which idle threads of Intel's and LLVM's OpenMP (conda, macOS, Windows) keep a
  core busy; 200 by default.

Users control this with ``EARMARK_THREADS``: ``auto`` (default), a number of threads, or ``off``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from earmark.errors import UsageError
from earmark.threads.cores import Cores, this_process

SWITCH = "EARMARK_THREADS"
OFF = f"{SWITCH}=off"
OMP_NUM_THREADS = "OMP_NUM_THREADS"
_COUNTS = (OMP_NUM_THREADS, "MKL_NUM_THREADS")
# The value that earmark gave OMP_NUM_THREADS, so that child processes do not mistake it for a user's setting.
_CHOSEN = "EARMARK_CHOSE_OMP_NUM_THREADS"
# Variables that control how threads wait. If the user has set one, earmark does not adapt to other processes.
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
_BLOCKTIME_MS = "1"
_BLOCKTIME_CHOSEN = "EARMARK_CHOSE_KMP_BLOCKTIME"


@dataclass(frozen=True)
class ThreadPlan:
    """How a process configures its CPU threads.

    Attributes:
        threads: number of threads to compute with; ``None`` if earmark does not set it.
        reason: where the number comes from, for the log.
        is_set: whether the user has set the number.
        adapts_waiting: whether threads stop spinning while other processes need the cores.
        waiting_reason: the user's setting that turns ``adapts_waiting`` off; empty if there is none.
    """

    threads: int | None
    reason: str
    is_set: bool
    adapts_waiting: bool
    waiting_reason: str = ""


def plan(
    environment: Mapping[str, str] | None = None, cores: Cores | None = None, launcher: Mapping[str, str] | None = None
) -> ThreadPlan:
    """Decide how many threads this process uses. Settings of the user win.

    Args:
        environment: environment variables of this process.
        cores: cores that this process may use.
        launcher: environment of the parent process when it started. It shows whether torchrun or the user
            set ``OMP_NUM_THREADS=1``.

    Raises:
        UsageError: ``EARMARK_THREADS`` is not auto, off or a number.
    """
    environment = os.environ if environment is None else environment
    switch = environment.get(SWITCH, "auto").strip().lower() or "auto"
    if switch == "off":
        return ThreadPlan(None, OFF, is_set=False, adapts_waiting=False, waiting_reason=OFF)
    waiting = [name for name in _WAITING if name in environment and not _is_ours(name, environment)]
    reason = f"{waiting[0]}={environment[waiting[0]]}" if waiting else ""
    if switch != "auto":
        if not switch.isdecimal() or int(switch) < 1:
            raise UsageError(f"{SWITCH}={switch}: not a number of threads. Set it to auto, off, or a positive number.")
        return ThreadPlan(int(switch), f"{SWITCH}={switch}", True, not waiting, reason)
    for name in _COUNTS:
        if name in environment and not _is_ours(name, environment) and not _of_torchrun(name, environment, launcher):
            return ThreadPlan(None, f"{name}={environment[name]}", True, not waiting, reason)
    cores = cores or this_process()
    processes = _processes_here(environment)
    shared = f" shared by {processes} processes" if processes > 1 else ""
    return ThreadPlan(cores.threads(processes), f"{cores.describe()}{shared}", False, not waiting, reason)


def planned_threads() -> int:
    """Return the number of threads for a library other than torch; 0 for the library's own default."""
    planned = plan(launcher=launcher_environment())
    if planned.threads is not None:
        return planned.threads
    given = (os.environ.get(name, "").partition(",")[0].strip() for name in _COUNTS)
    return next((int(count) for count in given if count.isdecimal()), 0)


def prepare(environment: MutableMapping[str, str] | None = None, cores: Cores | None = None) -> None:
    """Set the environment variables of this process. Call it before importing torch. Values of the user are kept.

    Args:
        environment: variables to read and set; by default those of this process.
        cores: cores that this process may use; by default read from this machine.

    Raises:
        UsageError: ``EARMARK_THREADS`` is not auto, off or a number.
    """
    environment = os.environ if environment is None else environment
    planned = plan(environment, cores, launcher_environment())
    if planned.reason == OFF:
        return
    if planned.threads is not None:
        environment[OMP_NUM_THREADS] = environment[_CHOSEN] = str(planned.threads)
    if not any(name in environment for name in ("KMP_BLOCKTIME", "KMP_LIBRARY", "OMP_WAIT_POLICY")):
        environment["KMP_BLOCKTIME"] = environment[_BLOCKTIME_CHOSEN] = _BLOCKTIME_MS


def rank_variables(
    processes: int, environment: Mapping[str, str] | None = None, cores: Cores | None = None
) -> dict[str, str]:
    """Return variables for each of ``processes`` child processes; empty if the user has set the number of threads."""
    environment = os.environ if environment is None else environment
    planned = plan(environment, cores)
    users = OMP_NUM_THREADS in environment and not _is_ours(OMP_NUM_THREADS, environment)
    if planned.is_set or (planned.reason == OFF and users):
        return {}
    threads = str((cores or this_process()).threads(processes))
    return {OMP_NUM_THREADS: threads, _CHOSEN: threads}


def launcher_environment() -> dict[str, str] | None:
    """Return the environment that the parent process was started with; ``None`` if the system does not show it."""
    try:
        words = Path(f"/proc/{os.getppid()}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    pairs = (word.decode("utf-8", errors="replace").partition("=") for word in words if word)
    return {name: value for name, _, value in pairs}


def _is_ours(name: str, environment: Mapping[str, str]) -> bool:
    mark = {OMP_NUM_THREADS: _CHOSEN, "KMP_BLOCKTIME": _BLOCKTIME_CHOSEN}.get(name)
    return mark is not None and environment.get(mark) == environment[name]


def _of_torchrun(name: str, environment: Mapping[str, str], launcher: Mapping[str, str] | None) -> bool:
    """Return whether torchrun set the variable: it gives each of its ranks one thread."""
    if name != OMP_NUM_THREADS or "TORCHELASTIC_RUN_ID" not in environment or environment[name] != "1":
        return False
    return launcher is not None and OMP_NUM_THREADS not in launcher


def _processes_here(environment: Mapping[str, str]) -> int:
    count = environment.get("LOCAL_WORLD_SIZE", "1")
    return int(count) if count.isdecimal() and int(count) > 0 else 1
