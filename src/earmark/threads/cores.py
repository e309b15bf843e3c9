"""Count the CPU cores that this process may use: affinity, container quota, and hyper-threads."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from earmark.text import counted


@dataclass(frozen=True)
class Cores:
    """The cores that a process may use.

    Attributes:
        logical: logical CPUs in the affinity mask of the process.
        physical: physical cores of these CPUs; two hyper-threads of one core count once.
        quota: CPU time that the container allows, in cores; ``None`` without a limit.
    """

    logical: int
    physical: int
    quota: float | None = None

    @property
    def cpus(self) -> int:
        """Logical CPUs, at most the quota: how many decoders can run at once."""
        return int(max(1, min(self.logical, self._limit)))

    @property
    def usable(self) -> int:
        """Cores that can work at once: the physical ones, at most the quota rounded to a whole number."""
        return int(max(1, min(self.physical, self._limit)))

    @property
    def _limit(self) -> float:
        return math.inf if self.quota is None else math.floor(self.quota + 0.5)

    def threads(self, processes: int = 1) -> int:
        """Return the number of CPU threads for each of ``processes`` processes that share the usable cores."""
        return max(1, self.usable // max(1, processes))

    def describe(self) -> str:
        """Return text such as ``"4 cores (8 logical CPUs)"`` or ``"2 cores (64 logical CPUs, container quota 2)"``."""
        details = [f"{self.logical} logical CPUs"] if self.logical != self.usable else []
        details += [f"container quota {self.quota:g}"] if self.quota is not None else []
        return self.count() + (f" ({', '.join(details)})" if details else "")

    def count(self) -> str:
        """Return the number of usable cores with its noun: ``"2 cores"``."""
        return counted(self.usable, "core")


@cache
def this_process() -> Cores:
    """Return the cores of this process; read once."""
    return read_cores(allowed_cpus())


def allowed_cpus() -> list[int]:
    """Return the logical CPUs in the affinity mask of this process; all CPUs if the system has no affinity."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def read_cores(allowed: list[int], root: Path = Path("/")) -> Cores:
    """Count the cores of some logical CPUs.

    Args:
        allowed: logical CPUs that may be used.
        root: folder that contains ``/proc`` and ``/sys``.
    """
    siblings = {_siblings(root, cpu) or str(cpu) for cpu in allowed}
    return Cores(logical=len(allowed), physical=max(1, len(siblings)), quota=read_quota(root))


def _siblings(root: Path, cpu: int) -> str | None:
    """Return the logical CPUs of the same physical core, as the kernel writes them; ``None`` if unknown."""
    topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
    return _read(topology / "core_cpus_list") or _read(topology / "thread_siblings_list")


def read_quota(root: Path = Path("/")) -> float | None:
    """Return the smallest CPU quota of the control groups of this process, in cores; ``None`` without a limit.

    A nested group has the limits of all groups around it. Inside a container, the path in ``/proc/self/cgroup`` may
    not be visible. Then the root of the mounted hierarchy is the container's own group.
    """
    quotas: list[float] = []
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            quotas += [quota for folder in _groups(root / "sys/fs/cgroup", path) if (quota := _quota_v2(folder))]
            # Not read: "unified", where version 2 is mounted if version 1 controls the CPU.
        elif "cpu" in controllers.split(","):
            for name in dict.fromkeys((controllers, "cpu", "cpu,cpuacct", "cpuacct,cpu")):
                groups = _groups(root / "sys/fs/cgroup" / name, path)
                quotas += [quota for folder in groups if (quota := _quota_v1(folder))]
    return min(quotas, default=None)


def _groups(mount: Path, path: str) -> Iterator[Path]:
    """Yield the folder of a control group and of every group around it, up to the mount point."""
    folder = mount / path.lstrip("/")
    if ".." in Path(path).parts:  # the group is outside the mounted namespace
        folder = mount
    yield folder
    while folder != mount:
        folder = folder.parent
        yield folder


def _quota_v2(folder: Path) -> float | None:
    words = (_read(folder / "cpu.max") or "").split()
    return _ratio(words[0], words[1]) if len(words) == 2 else None


def _quota_v1(folder: Path) -> float | None:
    return _ratio(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))


def _ratio(quota: str | None, period: str | None) -> float | None:
    """Return cores from a quota and a period in microseconds; ``None`` for ``max``, ``-1`` and unreadable values."""
    with contextlib.suppress(TypeError, ValueError, ZeroDivisionError):
        cores = float(quota or "") / float(period or "")
        return cores if cores > 0 else None
    return None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
