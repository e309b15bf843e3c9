"""Files that appear under their name only when they are complete, and rows of CSV in them."""

from __future__ import annotations

import csv
import io
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from earmark.errors import OutputError
from earmark.words import and_more, suggestion

# Virus scanners and search indexers open new files for a moment, and Windows moves no file that is open.
_TRIES = 20 if sys.platform == "win32" else 1
_BETWEEN_TRIES_S = 0.05
_MOST_COMPARED = 10_000  # names in a folder among which the nearest is looked for


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
    part = path.with_name(f".{path.name}.part")
    try:
        with open(part, mode, **how) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        replace(part, path)
    except OSError as exc:
        raise OutputError(f"{path}: cannot be written ({exc.strerror or exc})") from exc
    finally:
        with suppress(OSError):  # gone already where all went well; and what is read-only never took it
            part.unlink()


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


def sync_file(path: Path) -> None:
    """Write the content of a file to the disk.

    Raises:
        OSError: the disk is full or fails.
    """
    with open(path, "r+b") as stream:  # Windows syncs no file that is open for reading only
        os.fsync(stream.fileno())


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


def others_beside(missing: Path, *, folders: bool | None = None, listed: bool = True) -> str:
    """Return which name was probably meant by one that does not exist, as the end of a sentence about it.

    Args:
        missing: the path.
        folders: whether it should be a folder, or a file of the same type; ``None`` for either.
        listed: whether the first names are given if none is near.

    Returns:
        The name nearest to it in its folder, or the first names there; empty if there are none.
    """
    suffix = missing.suffix.casefold()
    others: list[str] = []
    try:
        with os.scandir(missing.parent) as entries:
            for entry in entries:
                is_alike = os.path.splitext(entry.name)[1].casefold() == suffix
                if folders is None or (entry.is_dir() if folders else is_alike):
                    others.append(entry.name)
                if len(others) == _MOST_COMPARED:
                    break
    except OSError:
        return ""
    others.sort()
    near = suggestion(missing.name, others, "" if missing.parent == Path() else f"{missing.parent.as_posix()}/")
    return near or (f"; {missing.parent} holds {and_more(others)}" if listed and others else "")


def csv_row(cells: Iterable[object]) -> str:
    """Return one line of CSV that ends in a line feed.

    A cell with any line end in it is quoted. ``csv.writer`` quotes only the line end that it writes itself, so a
    carriage return in a file name would end the row for most readers.
    """
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue()[:-2] + "\n"
