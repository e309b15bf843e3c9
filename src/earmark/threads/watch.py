"""Watch the cores while this process computes on the CPU, and give way to other processes that need them.

A daemon thread reads ``/proc`` four times a second, which costs about a thousandth of a core, and decides
(:mod:`earmark.threads.contention`). A decision takes effect in two places:

* Waiting threads switch between spinning and sleeping at once, even during a training step. This changes no result.
* The computing thread calls :func:`adjust` between steps and batches to change the number of threads. This changes the
  order of sums, and so the last bits of results.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Protocol

from earmark.text import counted
from earmark.threads.contention import Contention
from earmark.threads.cores import Cores, allowed_cpus, this_process
from earmark.threads.machine_load import Reading, Usage, read_counters, usage_between
from earmark.threads.openmp import IdleTeam, loaded_libgomp
from earmark.threads.variables import SWITCH, ThreadPlan, launcher_environment, plan

logger = logging.getLogger(__name__)

_EVERY_S = 0.25
_FREE_FOR_S = 5.0  # how long the cores must be free before this is logged


class Team(Protocol):
    """An object that makes waiting threads sleep until it is stopped."""

    def stop(self) -> None:
        """Let waiting threads spin again."""


class CoreWatch:
    """Measures CPU usage, decides whether to give way, makes threads sleep or spin, and logs.

    Args:
        contention: decides what to do.
        make_team: makes waiting threads sleep; returns ``None`` if this OpenMP does not support that.
    """

    def __init__(self, contention: Contention, make_team: Callable[[], Team | None]) -> None:
        self.contention = contention
        self.end = threading.Event()
        self._make_team = make_team
        self._team: Team | None = None
        self._has_switch = True  # until a team fails to start
        self._said: int | None = None  # the number of threads in the last log line
        self._free_s = 0.0

    def update(self, usage: Usage) -> None:
        """Update the state with the usage since the last call."""
        self.contention.update(usage)
        if self.contention.sleeps and self._team is None and self._has_switch:
            self._team = self._make_team()
            self._has_switch = self._team is not None
        elif not self.contention.sleeps and self._team is not None:
            self._team.stop()
            self._team = None
        self._log(usage)

    def run(self, read: Callable[[], Reading], every_s: float = _EVERY_S) -> None:
        """Update until :attr:`end` is set."""
        before = read()
        while not self.end.wait(every_s):
            now = read()
            self.update(usage_between(before, now))
            before = now
        if self._team is not None:
            self._team.stop()

    def _log(self, usage: Usage) -> None:
        now, most = self.contention.threads, self.contention.most_threads
        self._free_s = 0.0 if self.contention.is_contended else self._free_s + usage.seconds
        acts = now < most or self._team is not None
        if self.contention.is_contended and acts and (self._said is None or now < self._said):
            self._said = now
            cpus = f"{self.contention.cores} logical CPUs"
            others = "need the CPU" if usage.others is None else f"use {usage.others:.1f} of {cpus}"
            what = f"computing with {now} of {most} threads" if now < most else "waiting threads sleep"
            logger.info("threads: other processes %s; %s until the cores are free", others, what)
        elif self._said is not None and self._free_s >= _FREE_FOR_S:
            self._said = None
            logger.info("threads: the cores are free again; computing with %d threads", most)


def make_watch(threads: int, cores: Cores, *, fixed: bool) -> CoreWatch:
    """Return a watch that is not running yet.

    Args:
        threads: number of threads on a quiet machine.
        cores: cores of this process. Usage by other processes is measured on all logical CPUs of its affinity mask and
            compared with their number: a container quota limits this process, not its neighbours on the host.
        fixed: whether the user has fixed the number of threads.
    """
    contention = Contention(most_threads=threads, cores=cores.logical, fixed=fixed)
    return CoreWatch(contention, lambda: _idle_team(cores.logical))


_lock = threading.Lock()
_forks_single = False  # whether forked processes get one thread
_is_forked = False
_watch: tuple[int, CoreWatch] | None = None  # with its process ID
_local = threading.local()


def begin(planned: ThreadPlan | None = None) -> CoreWatch | None:
    """Start to manage the CPU threads as planned. This imports torch. Later calls change nothing.

    This applies ``EARMARK_THREADS=N`` even if torch was imported before earmark could set the environment.

    Args:
        planned: how to configure threads; by default read from the environment.

    Returns:
        The watch; ``None`` if there is only one thread, the user has switched the watch off, or the system does not
        show how busy the cores are.
    """
    global _watch
    import torch

    with _lock:
        _use_one_thread_in_forks()
        if _is_forked:
            return None
        if _watch is not None and _watch[0] == os.getpid():
            return _watch[1]
        planned = planned or plan(launcher=launcher_environment())
        if planned.is_set and planned.threads not in (None, torch.get_num_threads()):
            torch.set_num_threads(planned.threads)
        threads, allowed, cores = torch.get_num_threads(), allowed_cpus(), this_process()
        if threads > cores.usable and not planned.is_set and planned.threads is not None:
            _warn_of_too_many(threads)
        counters = read_counters(allowed)
        measurable = counters.busy_s is not None or bool(counters.delays_s)
        if not planned.adapts_waiting or threads == 1 or not measurable:
            return None
        watch = make_watch(threads, cores, fixed=planned.is_set)
        read = partial(read_counters, allowed)
        threading.Thread(target=watch.run, args=(read,), name="core watch", daemon=True).start()
        _watch = (os.getpid(), watch)
        return watch


def _use_one_thread_in_forks() -> None:
    """Let processes that are forked from this one compute with one thread.

    OpenMP's threads do not exist in a forked process. If they have computed before, it would wait for them forever.
    """
    global _forks_single
    if _forks_single or not hasattr(os, "register_at_fork"):
        return
    _forks_single = True

    def after_in_child() -> None:
        global _is_forked, _lock
        import torch

        _is_forked = True
        _lock = threading.Lock()  # another thread of the parent may hold it
        torch.set_num_threads(1)

    os.register_at_fork(after_in_child=after_in_child)


def adjust() -> None:
    """Set how many threads torch uses. Call it between steps, in the thread that computes."""
    watch = _watch
    if watch is None or watch[0] != os.getpid():
        return
    changes = watch[1].contention.changes  # read first, so that a change between the two reads is applied next time
    threads = watch[1].contention.threads
    if getattr(_local, "changes", 0) != changes:  # torch's setting is per thread
        import torch

        torch.set_num_threads(threads)
        _local.changes = changes


def most_threads() -> int:
    """Return how many threads compute while no other process needs the cores."""
    import torch

    watch = _watch
    mine = watch is not None and watch[0] == os.getpid()
    return watch[1].contention.most_threads if watch is not None and mine else torch.get_num_threads()


def describe(threads: int | None = None, planned: ThreadPlan | None = None) -> str:
    """Return a log message that says how this process uses CPU threads.

    Args:
        threads: number of threads on a quiet machine; by default that of this process.
        planned: how threads are configured; by default read from the environment.
    """
    planned = planned or plan(launcher=launcher_environment())
    threads = most_threads() if threads is None else threads
    count = f"{counted(threads, 'thread')} ({planned.reason})"
    if threads == 1:
        return count
    if not planned.adapts_waiting:
        return f"{count}; not adapted to other processes ({planned.waiting_reason})"
    if planned.is_set:
        return f"{count}, which sleep while they wait if other processes need the cores"
    return f"up to {count}, fewer while other processes need the cores"


def _warn_of_too_many(threads: int) -> None:
    cores = this_process()
    logger.warning(
        "threads: torch computes with %d threads on %s, which is slow. Set %s=%d before Python starts.",
        threads,
        cores.describe(),
        SWITCH,
        cores.usable,
    )


def _idle_team(cpus: int) -> Team | None:
    libraries = loaded_libgomp()
    try:
        return IdleTeam(libraries, cpus + 1) if libraries else None
    except (OSError, AttributeError, RuntimeError) as exc:  # an incompatible libgomp, or no thread available
        logger.debug("threads: cannot make threads of %s sleep (%s)", ", ".join(libraries), exc)
        return None
