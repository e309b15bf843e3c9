"""Usage from recorded counters."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from earmark.threads.machine_load import Reading, read_busy_s, read_counters, read_delays_s, usage_between

STAT = """\
cpu  300 0 0 900 0 0 0 0 0 0
cpu0 100 10 20 300 40 5 6 7 0 0
cpu1 200 0 0 300 0 0 0 0 0 0
cpu10 999 0 0 300 0 0 0 0 0 0
intr 5 0 0
"""


def test_busy_time_of_the_cpus_that_may_be_used(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text(STAT)
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    assert read_busy_s([0], tmp_path) == pytest.approx(148 * tick_s)  # neither idle nor waiting for a disk
    assert read_busy_s([0, 1], tmp_path) == pytest.approx(348 * tick_s)
    assert read_busy_s([0, 7], tmp_path) is None
    assert read_busy_s([0], tmp_path / "elsewhere") is None


def test_zeros_of_a_sandbox_are_not_an_idle_machine(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text("cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n")
    assert read_busy_s([0], tmp_path) is None


def test_delays_of_threads(tmp_path: Path) -> None:
    for thread, text in {"7": "5 2000000000 3", "8": "5 500000000 3", "9": "not numbers"}.items():
        folder = tmp_path / "proc/self/task" / thread
        folder.mkdir(parents=True)
        (folder / "schedstat").write_text(text)
    assert read_delays_s(tmp_path) == {7: 2.0, 8: 0.5}
    assert read_delays_s(tmp_path / "elsewhere") == {}


def test_kernel_without_scheduler_statistics(tmp_path: Path) -> None:
    folder = tmp_path / "proc/self/task/7"
    folder.mkdir(parents=True)
    (folder / "schedstat").write_text("0 0 0")
    assert read_delays_s(tmp_path) == {}


def test_usage_is_the_difference_of_two_readings() -> None:
    first = Reading(10.0, own_s=5.0, busy_s=100.0, delays_s={1: 1.0, 2: 3.0})
    second = Reading(12.0, own_s=8.0, busy_s=104.0, delays_s={1: 1.5, 3: 0.5})  # 2 has ended, 3 is new
    usage = usage_between(first, second)
    assert (usage.seconds, usage.own, usage.others, usage.delay) == (2.0, 1.5, 0.5, 0.5)
    unknown = usage_between(Reading(10.0, 5.0, None), Reading(12.0, 8.0, None))
    assert (unknown.others, unknown.delay) == (None, None)
    rounded = usage_between(Reading(0.0, 0.0, 1.0), Reading(1.0, 1.02, 2.0))
    assert rounded.others == 0.0, "ticks are coarser than CPU time"


def test_this_machine() -> None:
    usage = usage_between(read_counters([0]), read_counters([0]))
    assert usage.own >= 0
