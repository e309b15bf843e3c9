"""Locks on output folders and files, so that one process writes each of them at a time."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import ModuleType

from filelock import FileLock, Timeout

from earmark.errors import OutputError
from earmark.files import no_empty_folder
from earmark.runs.folder import check_is_no_file, prepare_folder

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

logger = logging.getLogger(__name__)

NAME = "_in_use.lock"  # Trainer's uploads leave out what begins with an underscore
_NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}
_held: set[int] = set()  # descriptors


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder, which is created if it does not exist and removed if it stays empty.

    The operating system drops the lock when the process ends, even if it is killed. The lock file names its process for
    the error message of the next one.

    Raises:
        OutputError: another process works in the folder, or the folder cannot be written.
    """
    check_is_no_file(folder)
    with no_empty_folder(folder):
        prepare_folder(folder)
        with locked(
            folder / NAME,
            lambda holder: f"{folder}: {holder} works in it; wait for that one or end it, or give another --output_dir",
        ):
            yield


@contextmanager
def locked(place: Path, refusal: Callable[[str], str]) -> Iterator[None]:
    """Hold a lock file, which is removed at the end.

    The operating system drops the lock when the process ends, even if it is killed.

    Args:
        place: the lock file. It names its process for the error message of the next one.
        refusal: returns that message, given which process holds the lock.

    Raises:
        OutputError: another process holds the lock, or the lock file cannot be written.
    """
    with _flock(place, refusal) if fcntl is not None else _file_lock(place, refusal):
        yield


@contextmanager
def _flock(place: Path, refusal: Callable[[str], str]) -> Iterator[None]:
    """Lock with ``flock``; a forked data-loader worker does not keep the lock of a killed process."""
    with _translated(place, place, refusal):
        descriptor = _locked(place)
    _held.add(descriptor)
    try:
        yield
    finally:
        if descriptor in _held:  # else this is a forked child, and the file is its parent's
            _held.discard(descriptor)
            with suppress(OSError):
                os.unlink(place)  # before others can hold it
            os.close(descriptor)


@contextmanager
def _file_lock(place: Path, refusal: Callable[[str], str]) -> Iterator[None]:
    """Lock with filelock, which uses what the system has instead of ``flock``."""
    # the name of the process goes into a file of its own: Windows lets nobody read a locked file
    lock, holder = FileLock(place, timeout=0), place.with_suffix(".txt")
    with _translated(place, holder, refusal):
        lock.acquire()
    try:
        with suppress(OSError):  # a full disk
            holder.write_text(_this_process(), encoding="utf-8", newline="")
        yield
    finally:
        with suppress(OSError):
            holder.unlink()
        lock.release()
        with suppress(OSError):  # another process has opened it meanwhile, and Windows removes no open file
            os.unlink(place)


@contextmanager
def _translated(place: Path, holder: Path, refusal: Callable[[str], str]) -> Iterator[None]:
    try:
        yield
    except (BlockingIOError, Timeout) as exc:
        raise OutputError(refusal(_holder(holder))) from exc
    except OSError as exc:
        raise OutputError(f"{place}: cannot be written ({exc.strerror})") from exc


def _locked(place: Path) -> int:
    """A descriptor of the file, with the lock on it wherever the file system has locks."""
    while True:
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor)
            if _is_at(place, descriptor):  # else who held it has removed it since it was opened here
                with suppress(OSError):  # a full disk
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, _this_process().encode())
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    assert fcntl is not None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        if exc.errno not in _NO_LOCKS:
            raise
        _say_unlocked(exc.strerror)


@cache
def _say_unlocked(reason: str) -> None:
    logger.warning("output folder: its file system has no locks (%s), so nothing keeps a second command out", reason)


def _is_at(place: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(place), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _this_process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}\n"


def _holder(place: Path) -> str:
    try:
        words = place.read_text(encoding="utf-8", errors="replace")
    except OSError:
        words = ""
    return words.strip().partition("\n")[0] or "another process"


def _let_go_in_child() -> None:
    """Workers that load data would hold the folder for a process that was killed."""
    while _held:
        os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)
