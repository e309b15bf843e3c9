"""Freed memory stays in the process during training on a CPU."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from earmark import heap
from earmark.heap import freed_memory_kept

SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is configured"
)

# Blocks are above glibc's largest threshold for memory of its own, 32 MB.
COMMON = """
import os, resource
import numpy as np
from earmark.heap import freed_memory_kept

def fill():
    np.full(96 << 20, 1, dtype=np.uint8)

def faults(rounds=5):
    fill()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        fill()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / rounds

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20
"""


@pytest.fixture(autouse=True)
def no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)


def printed(code: str) -> list[str]:
    """What code prints in a process of its own: in this one, a block may get freed memory of other tests."""
    done = subprocess.run([sys.executable, "-c", COMMON + code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_freed_memory_is_used_again_without_page_faults_and_returned_at_the_end() -> None:
    kept, within, before, during, after, behind = printed("""
with freed_memory_kept() as kept:
    before = resident()
    within = faults()
    during = resident()
print(kept, within, before, during, resident(), faults())
""")
    assert kept == "True"
    assert float(within) < 10
    assert int(during) - int(before) > 80
    assert int(after) - int(before) < 20
    assert float(behind) > 10  # huge pages of the system leave few


def test_a_block_inside_another_one_changes_nothing() -> None:
    inner, between, within = printed("""
with freed_memory_kept():
    with freed_memory_kept() as inner:
        pass
    fill()
    between = resident()
    within = faults()
print(inner, between, within)
""")
    assert inner == "True"
    assert int(between) > 80
    assert float(within) < 10


def test_later_tensors_cost_no_more_page_faults_than_in_a_process_without_a_block() -> None:
    """Tensors of 2 MB: glibc keeps their memory after it has seen some of them, unless its thresholds are set."""
    code = """
def faults_of_tensors():
    values = np.ones(1 << 19, dtype=np.float32)
    for _ in range(20):
        values + 1
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        values + 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
"""
    (without,) = printed(code + "print(faults_of_tensors())")
    (after,) = printed(code + "with freed_memory_kept():\n    fill()\nprint(faults_of_tensors())")
    assert int(after) <= int(without) + 100


def test_a_limit_of_the_address_space_leaves_room_for_others() -> None:
    assert printed("""
import mmap
memory_bytes = resource.getpagesize() * os.sysconf("SC_PHYS_PAGES")
used_bytes = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit_bytes = used_bytes + min(16 << 30, memory_bytes // 2) + (512 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
with freed_memory_kept() as kept:
    mmap.mmap(-1, 768 << 20).close()
    print(kept, faults() < 10)
""") == ["True", "True"]


@pytest.mark.parametrize(("mode", "is_free"), [("0", True), ("1", True), ("2", False), (None, False)])
def test_nothing_is_reserved_if_the_system_counts_reserved_memory(
    mode: str | None, is_free: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    if mode is not None:
        (tmp_path / "proc/sys/vm").mkdir(parents=True)
        (tmp_path / "proc/sys/vm/overcommit_memory").write_text(f"{mode}\n")
    assert heap._address_space_is_free(tmp_path) is is_free


def test_a_limited_address_space_is_no_error() -> None:
    assert printed("""
resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
with freed_memory_kept() as kept:
    fill()
    print(kept)
""") == ["True"]


@pytest.mark.parametrize(
    ("name", "value"), [("MALLOC_TRIM_THRESHOLD_", "100000"), ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")]
)
def test_settings_of_the_user_stay(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with freed_memory_kept() as kept:
        assert not kept
