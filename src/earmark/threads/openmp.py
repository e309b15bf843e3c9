"""Change how OpenMP threads wait while a process runs.

Threads of GNU OpenMP (libgomp, part of torch's Linux wheels) spin for milliseconds while they wait for each other. That
is fastest if every thread has its own core. If another process needs one of the cores, spinning threads take it from
the thread that they wait for, and training can take a hundred times as long.

libgomp reads ``GOMP_SPINCOUNT`` once, when it is loaded. But if it manages more threads than the process has CPUs, it
spins for about 100 rounds instead of 300,000 and then sleeps (``gomp_throttled_spin_count_var`` in GCC's
libgomp/config/linux/wait.h and env.c). :class:`IdleTeam` uses this: it starts an OpenMP team that does nothing, so that
libgomp manages more threads than there are CPUs and all waits of the process become short. When the team ends, libgomp
no longer counts it. The number of threads that compute does not change, so the results do not change either.
"""

from __future__ import annotations

import ctypes
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

logger = logging.getLogger(__name__)


def loaded_libgomp() -> list[str]:
    """Return the libgomp files that this process has loaded. scikit-learn brings its own in addition to torch's."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    paths = (line.split(maxsplit=5)[-1] for line in lines if "libgomp" in line)
    return [path for path in dict.fromkeys(paths) if Path(path).name.startswith("libgomp")]


class IdleTeam:
    """Idle OpenMP threads that make waiting threads of this process sleep instead of spin.

    Args:
        libraries: libgomp files that are already loaded.
        threads: size of the team; one more than the number of CPUs is always enough.
    """

    def __init__(self, libraries: Sequence[str], threads: int) -> None:
        self._regions = [_region(path) for path in libraries]
        self._threads = threads
        self._end = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="idle OpenMP team", daemon=True)
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """End the team, so that waiting threads spin again."""
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            for start, nothing in self._regions:
                start(nothing, None, self._threads, 0)  # returns at once; the team lives as long as this thread
        finally:
            self._ready.set()
        self._end.wait()


def _region(path: str) -> tuple[Callable[..., None], ctypes.c_void_p]:
    """Return ``GOMP_parallel``, libgomp's entry to a parallel region, and a function that does nothing."""
    start = ctypes.CDLL(path).GOMP_parallel
    start.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    start.restype = None
    # free(NULL) does nothing by definition, and has the type that GOMP_parallel calls: void (*)(void *)
    return start, ctypes.cast(ctypes.CDLL(None).free, ctypes.c_void_p)
