"""Lock files: one process at a time works on a resource.

The operating system releases a lock when its process ends, even if it is killed. :mod:`filelock` does not pass locks on
to forked children, so a data-loader worker neither keeps its parent's lock nor releases it.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from earmark.errors import OutputError

logger = logging.getLogger(__name__)

_NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}
# How long to try to acquire a lock. A holder removes its lock file when it releases the lock, and a process that opened
# the file just before has to try again.
_PATIENCE_S = 0.2
_POLL_S = 0.02


def new_lock(path: Path) -> BaseFileLock:
    """Return a lock that is not held yet.

    It never falls back to a marker file, because a killed process would leave that behind.
    """
    return FileLock(path, thread_local=False, fallback_to_soft=False)


def acquire(lock: BaseFileLock, what: str, *, timeout_s: float = -1) -> None:
    """Acquire a lock. On a file system without locks, warn and continue without one.

    Args:
        lock: the lock.
        what: what the lock protects, for the warning.
        timeout_s: how long to wait for another process, in seconds; -1 waits forever.

    Raises:
        Timeout: another process still holds the lock after ``timeout_s``.
        OSError: the lock file cannot be written.
    """
    try:
        lock.acquire(timeout=timeout_s, poll_interval=_POLL_S)
    except OSError as exc:
        if exc.errno not in _NO_LOCKS:
            raise
        _warn_unlocked(what, exc.strerror)


@contextmanager
def locked(path: Path, refusal: Callable[[str], str]) -> Iterator[None]:
    """Hold a lock file for the block, then remove it. On a file system without locks, warn and continue without one.

    Args:
        path: the lock file. A file next to it names this process, for the error message of other processes.
        refusal: returns the error message, given the process that holds the lock.

    Raises:
        OutputError: another process holds the lock, or the lock file cannot be written.
    """
    lock, holder = new_lock(path), holder_file(path)
    try:
        acquire(lock, "output folder", timeout_s=_PATIENCE_S)
    except Timeout as exc:
        raise OutputError(refusal(_read_holder(holder))) from exc
    except OSError as exc:
        raise OutputError(f"{path}: cannot be written ({exc.strerror}). Fix the permissions of its folder") from exc
    with suppress(OSError):  # a full disk
        holder.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", encoding="utf-8", newline="")
    owner = os.getpid()
    try:
        yield
    finally:
        if os.getpid() == owner:  # in a forked child the files belong to the parent
            remove_lock_file(holder)
            release_and_remove(lock)


def release_and_remove(lock: BaseFileLock) -> None:
    """Release a lock and remove its file."""
    path = Path(lock.lock_file)
    is_removed = remove_lock_file(path)  # before the release, because another process may lock it next
    lock.release()
    if not is_removed:  # Windows cannot remove open files, so a file locked by another process is safe
        remove_lock_file(path)


def remove_lock_file(path: Path) -> bool:
    """Remove a file. Return whether it is gone."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def holder_file(path: Path) -> Path:
    """Return the file that names the holder of a lock. A separate file, because Windows cannot read a locked one."""
    return path.with_suffix(".txt")


def _read_holder(holder: Path) -> str:
    try:
        text = holder.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    return text.strip().partition("\n")[0] or "another process"


@cache
def _warn_unlocked(what: str, reason: str) -> None:
    logger.warning(
        "%s: the file system does not support locks (%s). Do not let two commands use this %s at the same time",
        what,
        reason,
        what,
    )
