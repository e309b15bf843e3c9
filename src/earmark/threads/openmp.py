"""Switch how OpenMP's threads wait, while a process runs.

Threads of GNU's OpenMP (libgomp, part of torch's wheels for Linux) keep their cores busy for milliseconds while they
wait for each other. That is fastest if every thread has a core for itself. If another process needs one of the cores,
waiting threads take it from the thread they are waiting for, and training can take a hundred times as long.

libgomp reads ``GOMP_SPINCOUNT`` once, when it is loaded. But if it manages more threads than the process has CPUs, it
waits actively for about 100 rounds instead of 300,000 and then sleeps (``gomp_throttled_spin_count_var`` in GCC's
libgomp/config/linux/wait.h and env.c). :class:`IdleTeam` makes use of this: a thread that starts an OpenMP team of its
own, which does nothing, makes libgomp manage more threads than there are CPUs; all waits of the process are short from
then on. When the thread ends, libgomp counts its team off again. The number of threads that compute does not change, so
the results do not either.
"""

from __future__ import annotations

import ctypes
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

logger = logging.getLogger(__name__)


def loaded_libgomp(root: Path = Path("/")) -> list[str]:
    """Files of the copies of libgomp that this process has loaded; scikit-learn brings one beside torch's."""
    try:
        lines = (root / "proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    paths = (line.split(maxsplit=5)[-1] for line in lines if "libgomp" in line)
    return [path for path in dict.fromkeys(paths) if Path(path).name.startswith("libgomp")]


class IdleTeam:
    """OpenMP threads that do nothing, so that waiting threads of this process sleep instead of spinning.

    Args:
        libraries: files of libgomp, loaded already.
        threads: size of the team; the number of CPUs and one more is enough whatever else is running.
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
        """End the team: from here on waiting threads spin as before."""
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            for start, nothing in self._regions:
                start(nothing, None, self._threads, 0)  # returns at once; the team stays with this thread until it ends
        finally:
            self._ready.set()
        self._end.wait()


def _region(path: str) -> tuple[Callable[..., None], ctypes.c_void_p]:
    """``GOMP_parallel``, the entry of a parallel region in libgomp's ABI, and a function that does nothing."""
    start = ctypes.CDLL(path).GOMP_parallel
    start.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    start.restype = None
    # free(NULL) is defined to do nothing, and has the type that GOMP_parallel calls: void (*)(void *)
    return start, ctypes.cast(ctypes.CDLL(None).free, ctypes.c_void_p)
