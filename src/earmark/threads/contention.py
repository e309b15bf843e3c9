"""Decide how many threads compute and how they wait, from measured CPU usage. No clock and no I/O here.

Measured on 2 cores (Xeon with AMX, TC-ResNet, batch 32), clips/s relative to 2 spinning threads on a quiet machine:

| other work | 2 threads, spinning | 2 threads, sleeping | 1 thread |
|---|---|---|---|
| none, fp32 | 1 | 0.6 | 0.75 |
| a core for 25, 50, 75 % of the time, fp32 | 0.86, 0.69, 0.43 | 0.6 | |
| a core all the time, fp32 | 0.2 | 0.6 | 0.63 |
| none, bf16 | 1 | 0.27 | 1.07 |
| a core all the time, bf16 | 0.25 | 0.1 | 0.77 |

So it is best to use one thread per core that other processes leave free, once they take about 0.4 of a core. Letting
waiting threads sleep helps at once, even during a step, and even if the user has fixed the number of threads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from earmark.threads.machine_load import Usage

_BUSY_DELAY = 0.35  # own threads that are waiting for a core
_BUSY_OTHERS = 0.6  # cores that other processes use, if the system does not report waits
FREE_OTHERS = 0.35  # cores; less than this does not count as other work
_BUSY_FOR_S = 0.4  # long enough to ignore a single wait for a time slice
_FREE_FOR_S = 2.0
_TRY_AFTER_S = 10.0  # try spinning again after this time, because the other processes may give way
_RETURNED_WITHIN_S = 5.0
_MOST_DOUBLINGS = 4


@dataclass
class Contention:
    """State of a process that shares its cores with other processes.

    If a return to all threads does not last, the wait before the next return doubles.

    Attributes:
        most_threads: number of threads on a quiet machine.
        cores: logical CPUs that this process may run on; usage by other processes is measured on these.
        fixed: whether the user has fixed the number of threads.
        threads: number of threads to compute with at present.
        sleeps: whether waiting threads should sleep at present.
        changes: how often ``threads`` has changed.
    """

    most_threads: int
    cores: int
    fixed: bool = False
    threads: int = 0
    sleeps: bool = False
    changes: int = 0
    _state_s: float = 0.0
    _busy_s: float = 0.0
    _free_s: float = 0.0
    _doublings: int = 0
    _was_contended: bool = False

    def __post_init__(self) -> None:
        self.threads = self.most_threads

    @property
    def is_contended(self) -> bool:
        """Whether the process is giving way to other processes."""
        return self.sleeps or self.threads < self.most_threads

    def update(self, usage: Usage) -> bool:
        """Update the state with a measurement.

        Args:
            usage: usage since the last call.

        Returns:
            Whether ``threads`` or ``sleeps`` has changed.
        """
        before = self.threads, self.sleeps
        self._state_s += usage.seconds
        self._busy_s = self._busy_s + usage.seconds if is_busy(usage) else 0.0
        self._free_s = self._free_s + usage.seconds if self._has_room(usage) else 0.0
        if self._busy_s >= _BUSY_FOR_S:
            self._give_way(usage)
        elif self.is_contended:
            self._take_back(usage)
        self.changes += self.threads != before[0]
        return (self.threads, self.sleeps) != before

    def _give_way(self, usage: Usage) -> None:
        if not self.is_contended:
            lasted = self._state_s > _RETURNED_WITHIN_S or not self._was_contended
            self._doublings = 0 if lasted else min(self._doublings + 1, _MOST_DOUBLINGS)
            self._state_s = 0.0
        self._was_contended = True
        self._busy_s = self._free_s = 0.0
        self.sleeps = True
        if not self.fixed:
            free = self.threads // 2 if usage.others is None else math.floor(self.cores - usage.others + 0.5)
            self.threads = max(1, min(self.threads - 1, free))

    def _take_back(self, usage: Usage) -> None:
        factor = 2**self._doublings
        wait_s = (_FREE_FOR_S if usage.others is not None else _TRY_AFTER_S) * factor
        if self._free_s >= wait_s:
            free = self.threads * 2 if usage.others is None else math.floor(self.cores - usage.others + FREE_OTHERS)
            self.threads = max(self.threads, min(self.most_threads, free))
            self.sleeps = False
            self._state_s = self._free_s = 0.0
        elif self.sleeps and self._state_s >= _TRY_AFTER_S * factor:
            self.sleeps = False
            self._state_s = 0.0

    def _has_room(self, usage: Usage) -> bool:
        """Return whether one more thread, or all threads spinning, would have a core each."""
        wanted = min(self.threads + 1, self.most_threads)
        others = 0.0 if usage.others is None else usage.others
        return others <= max(0, self.cores - wanted) + FREE_OTHERS and not is_busy(usage)


def is_busy(usage: Usage) -> bool:
    """Return whether other processes keep threads of this process from running."""
    if usage.others is not None and usage.others < FREE_OTHERS:
        return False  # own threads are waiting for each other
    if usage.delay is not None:
        return usage.delay > _BUSY_DELAY
    return usage.others is not None and usage.others > _BUSY_OTHERS and usage.own > _BUSY_OTHERS
