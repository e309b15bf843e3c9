"""Freed memory stays in the process during training on a CPU."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from earmark.heap import freed_memory_kept

SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is configured"
)

# Blocks are above glibc's largest threshold for memory of its own, 32 MB.
COMMON = """
import resource
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
    """What code prints in a process of its own, because the memory of other tests is in this one."""
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
