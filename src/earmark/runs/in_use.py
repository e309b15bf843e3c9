"""A folder that one process works in at a time."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from earmark.errors import OutputError
from earmark.runs.folder import check_is_no_file, prepare_folder

logger = logging.getLogger(__name__)

NAME = "_in_use.lock"  # Trainer's uploads leave out what begins with an underscore
_NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}
_held: set[int] = set()  # descriptors


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder, which is made where it is not there.

    The lock is the system's, on an open file: it ends with the process, however that ends, so what a killed one leaves
    behind holds nobody up. What stands in the file is for the message of those who meet it.

    Raises:
        OutputError: another process works in the folder, or it cannot be written.
    """
    check_is_no_file(folder)
    prepare_folder(folder)
    place = folder / NAME
    try:
        descriptor = _locked(place)
    except BlockingIOError as exc:
        raise OutputError(
            f"{folder}: {_holder(place)} works in it; wait for that one or end it, or give another --output_dir"
        ) from exc
    except OSError as exc:
        raise OutputError(f"{place}: cannot be written ({exc.strerror})") from exc
    _held.add(descriptor)
    try:
        yield
    finally:
        if descriptor in _held:  # else this is a forked child, and the file is its parent's
            _held.discard(descriptor)
            with suppress(OSError):
                place.unlink()  # before others can hold it
            os.close(descriptor)


def _locked(place: Path) -> int:
    """A descriptor of the file, with the lock on it wherever the file system has locks."""
    while True:
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor)
            if _is_at(place, descriptor):  # else who held it has removed it since it was opened here
                with suppress(OSError):  # a full disk
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int) -> None:
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


os.register_at_fork(after_in_child=_let_go_in_child)
