"""What the watch does and logs, and that it takes hold of a real torch."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from earmark.threads import watch as watching
from earmark.threads.contention import Contention
from earmark.threads.cores import Cores
from earmark.threads.machine_load import Reading, Usage
from earmark.threads.variables import ThreadPlan
from earmark.threads.watch import CoreWatch, describe, make_watch

SRC = Path(__file__).parents[2] / "src"
BUSY = Usage(0.25, own=1.1, others=0.9, delay=0.8)
BESIDE = Usage(0.25, own=1.0, others=1.0, delay=0.1)
FREE = Usage(0.25, own=1.0, others=0.0, delay=0.0)


class Team:
    """A switch that remembers where it is."""

    on = 0

    def __init__(self) -> None:
        Team.on += 1

    def stop(self) -> None:
        Team.on -= 1


@pytest.fixture(autouse=True)
def _no_teams() -> None:
    Team.on = 0


def watch(*, fixed: bool = False) -> CoreWatch:
    return CoreWatch(Contention(most_threads=2, cores=2, fixed=fixed), Team)


def test_it_switches_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    one = watch()
    with caplog.at_level(logging.INFO, "earmark"):
        for usage in [FREE] * 4 + [BUSY] * 2:
            one.update(usage)
        assert (Team.on, one.contention.threads) == (1, 1)
        for usage in [BESIDE] * 100:
            one.update(usage)
        assert (Team.on, one.contention.threads) == (0, 1)
        for usage in [FREE] * 40:
            one.update(usage)
    assert (Team.on, one.contention.threads) == (0, 2)
    assert [record.getMessage() for record in caplog.records] == [
        "threads: other processes use 0.9 of 2 logical CPUs; computing with 1 of 2 threads until the cores are free",
        "threads: the cores are free again; computing with 2 threads",
    ]


def test_a_fixed_number(caplog: pytest.LogCaptureFixture) -> None:
    one = watch(fixed=True)
    with caplog.at_level(logging.INFO, "earmark"):
        for usage in [BUSY] * 300:
            one.update(usage)
    assert [record.getMessage() for record in caplog.records] == [
        "threads: other processes use 0.9 of 2 logical CPUs; waiting threads sleep until the cores are free",
    ]


def test_a_quota_does_not_shrink_the_host() -> None:
    one = make_watch(2, Cores(logical=64, physical=64, quota=2.0), fixed=False)
    throttled, beside = Usage(0.25, own=1.6, others=40.0, delay=0.4), Usage(0.25, own=2.0, others=40.0, delay=0.0)
    for usage in [throttled] * 2 + [beside] * 20:
        one.update(usage)
    assert one.contention.threads == 2, "neighbours that leave 24 CPUs free do not keep a thread away"


@pytest.mark.parametrize("fixed", [False, True])
def test_an_openmp_without_the_switch(fixed: bool, caplog: pytest.LogCaptureFixture) -> None:
    tries: list[None] = []
    one = CoreWatch(Contention(most_threads=2, cores=2, fixed=fixed), lambda: tries.append(None))
    with caplog.at_level(logging.INFO, "earmark"):
        for usage in [BUSY] * 40 + [FREE] * 40:
            one.update(usage)
    assert one.contention.threads == 2
    assert len(tries) == 1, "what failed once is not tried at every measurement"
    assert len(caplog.records) == (0 if fixed else 2), "nothing is logged where nothing was changed"
    assert "sleep" not in caplog.text


def test_the_end_of_the_watch_lets_threads_spin_again() -> None:
    one = watch()
    readings = iter(Reading(at_s, at_s, at_s * 2, {1: at_s}) for at_s in range(100))

    def read() -> Reading:
        reading = next(readings)
        if reading.at_s == 50:
            assert Team.on == 1
            one.end.set()
        return reading

    one.run(read, every_s=0)
    assert Team.on == 0


class ChangesAtTheFirstRead:
    """A decision that falls right after one of its two numbers has been read."""

    def __init__(self) -> None:
        self._reads = 0

    def _now(self) -> int:
        self._reads += 1
        return 0 if self._reads == 1 else 1

    @property
    def threads(self) -> int:
        return 2 - self._now()

    @property
    def changes(self) -> int:
        return self._now()


def test_a_change_between_two_reads_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", numbers.append)
    monkeypatch.setattr(watching, "_watch", (os.getpid(), SimpleNamespace(contention=ChangesAtTheFirstRead())))
    thread = threading.Thread(target=lambda: [watching.adjust() for _ in range(2)])
    thread.start()
    thread.join()
    assert numbers[-1:] == [1]


def test_the_log_line() -> None:
    ours = ThreadPlan(2, "2 cores", False, True)
    assert describe(2, ours) == "up to 2 threads (2 cores), fewer while other processes need the cores"
    fixed = ThreadPlan(None, "OMP_NUM_THREADS=2", True, True)
    assert describe(2, fixed) == (
        "2 threads (OMP_NUM_THREADS=2), which sleep while they wait if other processes need the cores"
    )
    passive = ThreadPlan(2, "2 cores", False, False, "OMP_WAIT_POLICY=passive")
    assert describe(2, passive) == "2 threads (2 cores); not adapted to other processes (OMP_WAIT_POLICY=passive)"
    assert describe(1, ThreadPlan(None, "OMP_NUM_THREADS=1", True, True)) == "1 thread (OMP_NUM_THREADS=1)"


PROGRAM = """
import os, sys, threading
import torch
from earmark.device import select_device
from earmark.threads import watch
from earmark.threads.openmp import IdleTeam, loaded_libgomp
from earmark.threads.variables import ThreadPlan

def tasks():
    return len(os.listdir("/proc/self/task"))

torch.set_num_threads(2)
(torch.ones(300, 300) @ torch.ones(300, 300)).sum()
torch.ones(1 << 20).add_(1)
before = tasks()
team = IdleTeam(loaded_libgomp(), 3)
print("team", len(loaded_libgomp()) > 0, tasks() >= before + 3 * len(loaded_libgomp()))
team.stop()
print("sum", int(torch.ones(1 << 20).add_(1).sum()) == 2 << 20)

# EARMARK_THREADS=2 holds for a torch that is there already; one watch a process
torch.set_num_threads(1)
select_device("cpu")
print("threads", torch.get_num_threads())
first = watch.begin()
select_device("cpu")
print("one", first is watch.begin(), [t.name for t in threading.enumerate()].count("core watch"))

# a change reaches the thread that computes when it asks, and other threads too
first.end.set()
first.contention.fixed = False
first.contention.threads, first.contention.changes = 1, 1
watch.adjust()
print("fewer", torch.get_num_threads())
seen = []
def other():
    watch.adjust()
    seen.append(torch.get_num_threads())
first.contention.threads, first.contention.changes = 2, 2
thread = threading.Thread(target=other); thread.start(); thread.join()
watch.adjust()
print("again", seen, torch.get_num_threads())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_it_takes_hold_of_torch() -> None:
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(SRC), "EARMARK_THREADS": "2", "HOME": "/tmp"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "team True True",
        "sum True",
        "threads 2",
        "one True 1",
        "fewer 1",
        "again [2] 2",
    ]
