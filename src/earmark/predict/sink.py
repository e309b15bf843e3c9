"""Outputs: standard output, a file (:mod:`part_file`), or a folder of files (:mod:`table_folder`)."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from earmark.clips.clip import Clip
from earmark.errors import OutputError, UsageError
from earmark.formats.output_names import NAMES
from earmark.io.atomic import unfinished, writing
from earmark.io.csv_rows import csv_row
from earmark.io.locks import locked
from earmark.text import counted

logger = logging.getLogger(__name__)

ANY_NAME = "surrogateescape"  # keeps the bytes of file names that are not UTF-8
BAD_AUDIO = ".bad_audio.csv"
LOCK = ".part.lock"
_SIDE_FILES = (".part", LOCK, ".part.done", BAD_AUDIO, NAMES, ".earmark.json")


class Sink(Protocol):
    """Receiver of the rows of one recording after another.

    Attributes:
        bad_audio: list of recordings that could not be read or written; ``None`` if there is none.
        earlier_unreadable: number of recordings that an earlier job could not read and this job does not retry.
    """

    bad_audio: Path | None
    earlier_unreadable: int

    @property
    def state(self) -> Mapping[str, object]:
        """State of the rows written by an earlier job; see :meth:`earmark.formats.format.Rows.restore`."""

    def remaining(self, clips: Sequence[Clip]) -> list[Clip]:
        """Return the recordings that an earlier job has not finished."""

    def write(self, rows: str) -> None:
        """Write rows of the current recording."""

    def finish(
        self, source: str, reason: str | None = None, state: Mapping[str, object] | None = None
    ) -> OutputError | None:
        """Finish the current recording.

        Args:
            source: its path.
            reason: why it could not be read; ``None`` if it could.
            state: state of the rows after it.

        Returns:
            An error if the results of only this recording could not be written, else ``None``.

        Raises:
            OutputError: no more results can be written.
        """

    def drop(self) -> None:
        """Discard the rows of the current recording."""


class StandardOutput:
    """Rows on standard output, which cannot be discarded."""

    bad_audio: Path | None = None
    earlier_unreadable = 0
    state: Mapping[str, Any] = {}

    def __init__(self, head: str) -> None:
        _make_lossless(sys.stdout)
        self.write(head)

    def remaining(self, clips: Sequence[Clip]) -> list[Clip]:
        """Return all recordings."""
        return list(clips)

    def write(self, rows: str) -> None:
        """Write rows."""
        with translated("standard output"):
            sys.stdout.write(rows)

    def finish(
        self, source: str, reason: str | None = None, state: Mapping[str, object] | None = None
    ) -> OutputError | None:
        """Flush the rows."""
        with translated("standard output"):
            sys.stdout.flush()
        return None

    def drop(self) -> None:
        """Do nothing, because rows on standard output cannot be discarded."""


def _make_lossless(stream: object) -> None:
    """Make a stream accept any text: a pipe or file gets UTF-8, like ``--output``; a terminal shows escapes."""
    if not isinstance(stream, io.TextIOWrapper):
        return
    if stream.isatty():
        stream.reconfigure(errors="backslashreplace")
    else:
        stream.reconfigure(encoding="utf-8", errors=ANY_NAME, newline="\n")


def check_output(output: Path, sources: Sequence[str]) -> None:
    """Reject an output that would replace a recording, or whose name is too long for the files next to it.

    Raises:
        OutputError: the output is a recording or a folder, or its name is too long.
    """
    for source in sources:
        if _is_same_file(output, source):
            raise OutputError(f"--output {output}: this file is one of the recordings. Choose another file")
    if output.is_dir():
        raise OutputError(f"--output {output}: this is a folder. Choose a file in it")
    longest = unfinished(Path(max((f"{output.name}{ending}" for ending in _SIDE_FILES), key=len))).name
    if len(os.fsencode(longest)) > longest_name(output.parent):
        raise OutputError(f"--output {output}: the name is too long for {longest} next to it. Use a shorter name")


def _is_same_file(output: Path, source: str) -> bool:
    if os.path.abspath(output) == os.path.abspath(source):
        return True
    try:
        return os.path.basename(output).casefold() == os.path.basename(source).casefold() and output.samefile(source)
    except (OSError, ValueError):
        return False


def longest_name(folder: Path) -> int:
    """Return the maximum length of a file name in a folder, in bytes; 255 if unknown."""
    if not hasattr(os, "pathconf"):
        return 255
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (OSError, ValueError):
        return 255


def summary(parts: Sequence[str], earlier: int, sink: Sink) -> str:
    """Return the summary of a job.

    Args:
        parts: what this job has done; empty if nothing was left to do.
        earlier: number of recordings finished by an earlier job.
        sink: the output.
    """
    said = ", ".join(parts) if parts or not earlier else "No recording was left to read"
    if earlier:
        read = counted(earlier - sink.earlier_unreadable, "recording")
        unreadable = f" and could not read {sink.earlier_unreadable:,}" if sink.earlier_unreadable else ""
        said += f". An earlier job finished {read}{unreadable}"
    return said


def warn_of_unreadable(sink: Sink) -> None:
    """Warn that recordings that an earlier job could not read are not retried."""
    if sink.earlier_unreadable:
        logger.warning(
            "--resume does not retry the %s that the earlier job could not read%s. Fix the recordings and predict them "
            "to another --output, or start again with --overwrite",
            counted(sink.earlier_unreadable, "recording"),
            f" ({sink.bad_audio})" if sink.bad_audio is not None and sink.bad_audio.exists() else "",
        )


def refuse_resume_without_output() -> UsageError:
    """Return the error for ``--resume`` with standard output."""
    return UsageError("--resume: output written to standard output cannot be resumed. Add --output FILE")


def write_bad_audio(path: Path, bad: Sequence[tuple[str, str]]) -> None:
    """Write the recordings that could not be read as ``path,reason``, or remove the list if there are none.

    Raises:
        OutputError: the list cannot be written.
    """
    if not bad:
        path.unlink(missing_ok=True)
        return
    with writing(path) as stream:
        stream.writelines(csv_row(cells) for cells in [("path", "reason"), *bad])


def writing_alone(lock: Path, output: Path, kind: str) -> AbstractContextManager[None]:
    """Return a lock against other jobs for an output.

    Args:
        lock: the lock file.
        output: the output, for the error message.
        kind: ``file`` or ``folder``.

    Raises:
        OutputError: another job is writing the output.
    """
    return locked(lock, lambda holder: f"{output}: {holder} is writing it. Wait for that job, or choose another {kind}")


@contextmanager
def translated(output: object, hint: Callable[[], str] = str) -> Iterator[None]:
    """Convert an OSError of the block to an OutputError that names ``output``. A closed pipe is not an error.

    Args:
        output: start of the message.
        hint: returns the end of the message.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise OutputError(f"{output}: cannot be written ({exc.strerror or exc}){hint()}") from exc
