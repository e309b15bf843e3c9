"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from earmark.errors import OutputError


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
        os.replace(part, path)
    except OSError as exc:
        raise OutputError(f"{path}: cannot be written ({exc.strerror or exc})") from exc
    finally:
        with suppress(OSError):  # gone already where all went well; and what is read-only never took it
            part.unlink()
