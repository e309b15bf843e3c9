"""Measure how busy the cores are from Linux's ``/proc``: CPU time of other processes, and waits for a core."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

_BUSY_FIELDS = (0, 1, 2, 5, 6, 7)  # of /proc/stat: user, nice, system, irq, softirq, steal


@dataclass(frozen=True)
class Usage:
    """CPU usage between two readings.

    Attributes:
        seconds: time between the readings.
        own: cores that this process used, e.g. 1.5.
        others: cores that everything else used, including child processes; ``None`` if unknown.
        delay: average number of threads of this process that were ready to run but waited for a core; ``None`` if
            unknown.
    """

    seconds: float
    own: float
    others: float | None
    delay: float | None


@dataclass(frozen=True)
class Reading:
    """Counters at one moment, in seconds.

    Attributes:
        at_s: time of the reading.
        own_s: CPU time of this process.
        busy_s: busy time of the allowed CPUs, summed; ``None`` if unknown.
        delays_s: time that each thread has waited for a core, by thread ID; empty if unknown.
    """

    at_s: float
    own_s: float
    busy_s: float | None
    delays_s: Mapping[int, float] = field(default_factory=dict)


def read_counters(allowed: Collection[int], root: Path = Path("/")) -> Reading:
    """Read the counters.

    Args:
        allowed: logical CPUs that this process may use.
        root: folder that contains ``/proc``.
    """
    return Reading(time.monotonic(), time.process_time(), read_busy_s(allowed, root), read_delays_s(root))


def usage_between(first: Reading, second: Reading) -> Usage:
    """Return the usage between two readings. Threads that have ended in between are ignored."""
    seconds = max(second.at_s - first.at_s, 1e-9)
    own = (second.own_s - first.own_s) / seconds
    others = delay = None
    if first.busy_s is not None and second.busy_s is not None:
        others = max(0.0, (second.busy_s - first.busy_s) / seconds - own)
    if second.delays_s:
        waited = sum(value - first.delays_s.get(thread, 0.0) for thread, value in second.delays_s.items())
        delay = max(0.0, waited / seconds)
    return Usage(seconds, own, others, delay)


def measure_others(seconds: float, allowed: Collection[int], root: Path = Path("/")) -> float | None:
    """Measure for ``seconds`` how many cores other processes use; ``None`` if unknown."""
    first = read_counters(allowed, root)
    time.sleep(seconds)
    return usage_between(first, read_counters(allowed, root)).others


def read_busy_s(allowed: Collection[int], root: Path = Path("/")) -> float | None:
    """Return the summed busy time of these CPUs since the machine started, in seconds; ``None`` if unknown."""
    wanted = {f"cpu{number}" for number in allowed}
    ticks, found = 0, 0
    with contextlib.suppress(OSError, ValueError, IndexError), open(root / "proc/stat", encoding="ascii") as lines:
        for line in takewhile(lambda line: line.startswith("cpu"), lines):
            name, *words = line.split()
            if name in wanted:
                ticks += sum(int(words[i]) for i in _BUSY_FIELDS)
                found += 1
    if found < len(wanted) or ticks <= 0 or not hasattr(os, "sysconf"):  # in some sandboxes the file holds zeros
        return None
    return float(ticks / os.sysconf("SC_CLK_TCK"))


def read_delays_s(root: Path = Path("/")) -> dict[int, float]:
    """Return how long each thread of this process has waited for a core while ready to run, in seconds."""
    delays: dict[int, float] = {}
    folder = root / "proc/self/task"
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            with contextlib.suppress(OSError, ValueError, IndexError):
                delays[int(name)] = int((folder / name / "schedstat").read_text(encoding="ascii").split()[1]) / 1e9
    # A kernel without scheduler statistics writes zeros, or has no such file.
    return delays if any(delays.values()) else {}
