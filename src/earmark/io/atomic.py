"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, TextIO

from earmark.errors import OutputError
from earmark.io.os_errors import os_errors_as

# Virus scanners and search indexers open new files for a moment, and Windows moves no file that is open.
_TRIES = 20 if sys.platform == "win32" else 1
_BETWEEN_TRIES_S = 0.05


def writing(path: Path, *, errors: str = "surrogateescape") -> AbstractContextManager[TextIO]:
    """Open a UTF-8 text file that appears under its name only when it is complete.

    Args:
        path: its name.
        errors: what becomes of text that is not UTF-8; file names need not be, and are written as the bytes they are.

    Raises:
        OutputError: it cannot be written; an earlier file of that name is then still whole.
    """
    return _whole(path, "w", encoding="utf-8", errors=errors, newline="")


def writing_bytes(path: Path) -> AbstractContextManager[BinaryIO]:
    """Open a file of bytes that appears under its name only when it is complete.

    Raises:
        OutputError: it cannot be written; an earlier file of that name is then still whole.
    """
    return _whole(path, "wb")


@contextmanager
def _whole(path: Path, mode: str, **how: Any) -> Iterator[Any]:
    refusal = os_errors_as(OutputError, f"{path}: cannot be written")
    with refusal, replacing(path) as part, open(part, mode, **how) as stream:
        yield stream


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path at which other code writes a file, which becomes ``path`` when it is complete.

    Raises:
        OSError: it cannot be written; an earlier file of that name is then still whole.
    """
    part = unfinished(path)
    try:
        yield part
        sync_file(part)
        replace(part, path)
    finally:
        with suppress(OSError):  # gone already where all went well; and what is read-only never took it
            part.unlink()


def unfinished(path: Path) -> Path:
    """Return what a file is called while it is written."""
    return path.with_name(f".{path.name}.part")


def replace(source: Path, target: Path) -> None:
    """Rename a file, overwriting ``target``; on Windows, try for a second while another program has one of them open.

    Raises:
        OSError: the file cannot be renamed.
    """
    for _ in range(_TRIES - 1):
        try:
            return os.replace(source, target)
        except PermissionError:
            time.sleep(_BETWEEN_TRIES_S)
    return os.replace(source, target)


def sync_stream(stream: IO[Any]) -> None:
    """Write what a file has been given so far to the disk.

    Raises:
        OSError: the disk is full or fails.
    """
    stream.flush()
    os.fsync(stream.fileno())


def sync_file(path: Path) -> None:
    """Write the content of a file to the disk.

    Raises:
        OSError: the disk is full or fails.
    """
    with open(path, "r+b") as stream:  # Windows syncs no file that is open for reading only
        sync_stream(stream)


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to the disk; Windows opens no folders and has no call for this.

    Raises:
        OSError: the disk is full or fails.
    """
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def no_empty_folder(path: Path) -> Iterator[None]:
    """Remove a folder, and its parents, that were created inside the ``with`` block and are empty at its end."""
    created = [folder for folder in (path, *path.parents) if not os.path.exists(folder)]
    try:
        yield
    finally:
        with suppress(OSError):  # not created, or not empty
            for folder in created:
                folder.rmdir()
