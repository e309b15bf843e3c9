"""Write files that appear under their name only when they are complete."""

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

# Virus scanners and search indexers open new files for a moment, and Windows cannot rename an open file.
_TRIES = 20 if sys.platform == "win32" else 1
_BETWEEN_TRIES_S = 0.05


def writing(path: Path, *, errors: str = "surrogateescape") -> AbstractContextManager[TextIO]:
    """Open a UTF-8 text file for writing. The file gets its name only when it is complete.

    Args:
        path: the file to write.
        errors: how to encode text that is not valid UTF-8. The default keeps such bytes of file names.

    Raises:
        OutputError: the file cannot be written. An earlier file with this name is kept.
    """
    return _whole(path, "w", encoding="utf-8", errors=errors, newline="")


def writing_bytes(path: Path) -> AbstractContextManager[BinaryIO]:
    """Open a binary file for writing. The file gets its name only when it is complete.

    Raises:
        OutputError: the file cannot be written. An earlier file with this name is kept.
    """
    return _whole(path, "wb")


@contextmanager
def _whole(path: Path, mode: str, **how: Any) -> Iterator[Any]:
    refusal = os_errors_as(OutputError, f"{path}: cannot be written")
    with refusal, replacing(path) as part, open(part, mode, **how) as stream:
        yield stream


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to. The file is renamed to ``path`` when the block ends.

    Raises:
        OSError: the file cannot be written. An earlier file with this name is kept.
    """
    part = unfinished(path)
    try:
        yield part
        sync_file(part)
        replace(part, path)
    finally:
        with suppress(OSError):  # already renamed on success; never created in a read-only folder
            part.unlink()


def unfinished(path: Path) -> Path:
    """Return the temporary name of a file while it is being written."""
    return path.with_name(f".{path.name}.part")


def replace(source: Path, target: Path) -> None:
    """Rename a file and overwrite ``target``. On Windows, retry for a second while another program has a file open.

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
    """Write the buffered content of an open file to the disk.

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
    with open(path, "r+b") as stream:  # Windows cannot sync a file that is open read-only
        sync_stream(stream)


def sync_folder(folder: Path) -> None:
    """Write the file names in a folder to the disk. Does nothing on Windows, which has no such call.

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
    """Remove a folder and its parents if the ``with`` block created them and left them empty."""
    created = [folder for folder in (path, *path.parents) if not os.path.exists(folder)]
    try:
        yield
    finally:
        with suppress(OSError):  # not created, or not empty
            for folder in created:
                folder.rmdir()
