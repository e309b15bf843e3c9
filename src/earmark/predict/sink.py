"""Where results are written: standard output, a file (:mod:`part_file`), or a folder of files (:mod:`table_folder`)."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from earmark.data.clips import Clip
from earmark.errors import OutputError, UsageError
from earmark.files import csv_row

ANY_NAME = "surrogateescape"  # file names need not be UTF-8; they are written as the bytes they are
BAD_AUDIO = ".bad_audio.csv"
_SIDE_FILES = (".part", ".part.done", ".part.done.new", BAD_AUDIO, ".earmark.json")


class Sink(Protocol):
    """Takes the rows of one recording after another.

    Attributes:
        bad_audio: the list of recordings that could not be read or written; ``None`` if there is none.
    """

    bad_audio: Path | None

    @property
    def state(self) -> Mapping[str, Any]:
        """State of the rows that an earlier job wrote; see :meth:`earmark.predict.formats.base.Rows.restore`."""

    def remaining(self, clips: Sequence[Clip]) -> list[Clip]:
        """Return the recordings that an earlier job has not finished."""

    def write(self, rows: str) -> None:
        """Take rows of the current recording."""

    def finish(
        self, source: str, reason: str | None = None, state: Mapping[str, Any] | None = None
    ) -> OutputError | None:
        """Finish the current recording.

        Args:
            source: its path.
            reason: why it could not be read; ``None`` if it could.
            state: of the rows after it.

        Returns:
            Why its results could not be written, if only they are affected.

        Raises:
            OutputError: nothing can be written.
        """

    def drop(self) -> None:
        """Discard the rows of the current recording."""


class StandardOutput:
    """Rows for another program; what is written is written."""

    bad_audio: Path | None = None
    state: Mapping[str, Any] = {}

    def __init__(self, head: str) -> None:
        _make_lossless(sys.stdout)
        sys.stdout.write(head)

    def remaining(self, clips: Sequence[Clip]) -> list[Clip]:
        """Return all recordings."""
        return list(clips)

    def write(self, rows: str) -> None:
        """Write rows."""
        sys.stdout.write(rows)

    def finish(
        self, source: str, reason: str | None = None, state: Mapping[str, Any] | None = None
    ) -> OutputError | None:
        """Pass the rows on."""
        sys.stdout.flush()
        return None

    def drop(self) -> None:
        """Do nothing: rows that another program has read cannot be discarded."""


def _make_lossless(stream: Any) -> None:
    """Let a stream take any text: a pipe or a file gets UTF-8, like an ``--output``; a terminal shows escapes."""
    if not isinstance(stream, io.TextIOWrapper):
        return
    if stream.isatty():
        stream.reconfigure(errors="backslashreplace")
    else:
        stream.reconfigure(encoding="utf-8", errors=ANY_NAME, newline="\n")


def check_output(output: Path, sources: Sequence[str]) -> None:
    """Refuse an output that would replace a recording, or that cannot have files beside it.

    Raises:
        OutputError: one of these.
    """
    for source in sources:
        if _is_same_file(output, source):
            raise OutputError(f"--output {output}: this file is one of the recordings. Name another file")
    if output.is_dir():
        raise OutputError(f"--output {output}: this is a folder. Name a file in it")
    longest = max((f"{output.name}{ending}" for ending in _SIDE_FILES), key=len)
    if len(os.fsencode(longest)) > longest_name(output.parent):
        raise OutputError(f"--output {output}: the name is too long for {longest} beside it. Use a shorter name")


def _is_same_file(output: Path, source: str) -> bool:
    if os.path.abspath(output) == os.path.abspath(source):
        return True
    try:
        return os.path.basename(output).casefold() == os.path.basename(source).casefold() and output.samefile(source)
    except (OSError, ValueError):
        return False


def longest_name(folder: Path) -> int:
    """Return how many bytes a file name may have in a folder; 255 where the system does not say."""
    if not hasattr(os, "pathconf"):
        return 255
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (OSError, ValueError):
        return 255


def refuse_resume_without_output() -> UsageError:
    """Return the error for ``--resume`` with standard output."""
    return UsageError("--resume: output written to standard output cannot be resumed. Add --output FILE")


def bad_audio_rows(bad: Sequence[tuple[str, str]]) -> str:
    """Return the list of recordings that could not be read, ``path,reason``."""
    return "".join(csv_row(cells) for cells in [("path", "reason"), *bad])


@contextmanager
def translated(output: object, hint: str = "") -> Iterator[None]:
    """Raise an OSError of the block as an OutputError that names ``output``."""
    try:
        yield
    except OSError as exc:
        raise OutputError(f"{output}: cannot be written ({exc.strerror or exc}){hint}") from exc
