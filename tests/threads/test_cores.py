"""Cores from recorded ``/proc`` and ``/sys`` trees."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from earmark.threads.cores import Cores, read_cores, read_quota, this_process


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    return root


def topology(pairs: dict[int, str]) -> dict[str, str]:
    return {f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list": text for cpu, text in pairs.items()}


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000"}, None),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "150000 100000"}, 1.5),
        # the limit of a group around the own one
        (
            {
                "proc/self/cgroup": "0::/user.slice/job/step",
                "sys/fs/cgroup/user.slice/job/step/cpu.max": "max 100000",
                "sys/fs/cgroup/user.slice/job/cpu.max": "400000 100000",
                "sys/fs/cgroup/user.slice/cpu.max": "800000 100000",
            },
            4,
        ),
        # Kubernetes without a namespace: the path is that of the host, the mount is that of the container
        ({"proc/self/cgroup": "0::/kubepods/pod1/abc", "sys/fs/cgroup/cpu.max": "200000 100000"}, 2),
        ({"proc/self/cgroup": "0::/../other", "sys/fs/cgroup/cpu.max": "200000 100000"}, 2),
        # version 1, alone and beside version 2
        (
            {
                "proc/self/cgroup": "11:cpu,cpuacct:/docker/abc\n3:memory:/\n0::/",
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "300000",
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": "4:cpuset:/x\n1:cpu:/docker/abc",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/cpuset/x/cpu.cfs_quota_us": "1",
            },
            0.5,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            None,
        ),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "rubbish here"}, None),
    ],
)
def test_quota(files: dict[str, str], quota: float | None, tmp_path: Path) -> None:
    assert read_quota(write(tmp_path, files)) == quota


def test_two_hyper_threads_are_one_core(tmp_path: Path) -> None:
    write(tmp_path, topology({0: "0,4", 4: "0,4", 1: "1,5", 5: "1,5"}))
    assert read_cores([0, 1, 4, 5], tmp_path) == Cores(logical=4, physical=2)
    assert read_cores([0, 4], tmp_path).usable == 1
    assert read_cores([0, 1], tmp_path).usable == 2


def test_cpus_without_topology_are_cores(tmp_path: Path) -> None:
    assert read_cores([3, 7, 9], tmp_path) == Cores(logical=3, physical=3)


@pytest.mark.parametrize(
    ("cores", "processes", "threads"),
    [
        (Cores(8, 8), 1, 8),
        (Cores(8, 4), 1, 4),
        (Cores(64, 64, quota=2.0), 1, 2),
        (Cores(64, 64, quota=1.5), 1, 2),
        (Cores(64, 64, quota=0.3), 1, 1),
        (Cores(8, 8), 3, 2),
        (Cores(2, 2), 8, 1),
        (Cores(4, 4, quota=100.0), 1, 4),
    ],
)
def test_processes_share_the_usable_cores(cores: Cores, processes: int, threads: int) -> None:
    assert cores.threads(processes) == threads
    assert cores.threads(processes) * processes <= max(cores.usable, processes)


def test_description() -> None:
    assert Cores(2, 2).describe() == "2 cores"
    assert Cores(1, 1).describe() == "1 core"
    assert Cores(8, 4).describe() == "4 cores (8 logical CPUs)"
    assert Cores(64, 32, 2.0).describe() == "2 cores (64 logical CPUs, container quota 2)"


def test_this_process() -> None:
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    cores = this_process()
    assert cores.logical == len(allowed)
    assert 1 <= cores.usable <= cores.logical
    assert 1 <= cores.cpus <= cores.logical
