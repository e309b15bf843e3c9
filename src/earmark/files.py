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


def csv_row(cells: Iterable[object]) -> str:
    """Return one line of CSV that ends in a line feed.

    A cell with any line end in it is quoted. ``csv.writer`` quotes only the line end that it writes itself, so a
    carriage return in a file name would end the row for most readers.
    """
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue()[:-2] + "\n"


def similar_in_folder(missing: Path, *, folders_only: bool = False, listed: bool = False) -> str:
    """Return a hint at the name beside a missing file or folder that is most like it.

    Args:
        missing: the path that does not exist.
        folders_only: suggest folders only.
        listed: name the first of the others if none is similar.

    Returns:
        ``"; did you mean FOLDER/NAME?"``, or ``"; FOLDER holds A, B and 3 more."``, or nothing.
    """
    folder = missing.parent
    try:
        others = sorted(path.name for path in folder.iterdir() if path.is_dir() or not folders_only)
    except OSError:
        return ""
    near = suggestion(missing.name, others, "" if folder == Path() else f"{folder.as_posix()}/")
    return near or (f"; {folder} holds {and_more(others)}." if listed and others else "")
