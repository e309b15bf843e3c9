"""Lock files: one process at a time works on what such a file stands for.

The operating system drops a lock when its process ends, even if it is killed, and :mod:`filelock` keeps locks out of
forked children: a data-loader worker neither holds the lock of a killed process nor gives back the lock of its parent.
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
# A holder removes its lock file, so the one that was opened may be gone when it is locked: then another try succeeds.
_PATIENCE_S = 0.2
_POLL_S = 0.02


def new_lock(path: Path) -> BaseFileLock:
    """Return a lock that is not held yet.

    It never falls back to a mere marker file, which would outlive a process that is killed.
    """
    return FileLock(path, thread_local=False, fallback_to_soft=False)


def acquire(lock: BaseFileLock, what: str, *, timeout_s: float = -1) -> None:
    """Acquire a lock for ``what``; on a file system that has no locks, warn and go on without.

    Raises:
        Timeout: another process holds it, after ``timeout_s``; -1 waits for as long as it takes.
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
    """Hold a lock file, which is removed at the end. Its file system may lack locks; a warning says so.

    Args:
        path: the lock file. A file beside it names this process for the error message of the next one.
        refusal: returns that message, given which process holds the lock.

    Raises:
        OutputError: another process holds the lock, or the lock file cannot be written.
    """
    lock, holder = new_lock(path), holder_file(path)
    try:
        acquire(lock, "output folder", timeout_s=_PATIENCE_S)
    except Timeout as exc:
        raise OutputError(refusal(_read_holder(holder))) from exc
    except OSError as exc:
        raise OutputError(f"{path}: cannot be written ({exc.strerror})") from exc
    with suppress(OSError):  # a full disk
        holder.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", encoding="utf-8", newline="")
    owner = os.getpid()
    try:
        yield
    finally:
        if os.getpid() == owner:  # else this is a forked child, and the files are its parent's
            remove_lock_file(holder)
            release_and_remove(lock)


def release_and_remove(lock: BaseFileLock) -> None:
    """Give a lock back and remove its file."""
    path = Path(lock.lock_file)
    is_removed = remove_lock_file(path)  # while it is held: afterwards it may be another process's
    lock.release()
    if not is_removed:  # Windows removes no open file, so neither does this remove one that another process has locked
        remove_lock_file(path)


def remove_lock_file(path: Path) -> bool:
    """Remove a file, and return whether it is gone."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def holder_file(path: Path) -> Path:
    """Return the file that names the holder of a lock. It is one of its own: Windows lets nobody read a locked file."""
    return path.with_suffix(".txt")


def _read_holder(holder: Path) -> str:
    try:
        text = holder.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    return text.strip().partition("\n")[0] or "another process"


@cache
def _warn_unlocked(what: str, reason: str) -> None:
    logger.warning("%s: its file system has no locks (%s), so nothing keeps a second command out", what, reason)
