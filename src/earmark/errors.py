"""Define every error that a user can cause, in one tree.

::

    EarmarkError                 exit code 2, one line, no traceback (unless --debug)
    ├── UsageError               a flag, a configuration file or an argument
    │   └── InputTypeError       an argument of a type that is not accepted; also a TypeError
    ├── DataError                a table of clips: folder, manifest, archive, data set
    │   └── AudioError           one recording: missing, empty, truncated, not audio, NaN
    ├── ModelError               a checkpoint or an architecture
    ├── DeviceError              an accelerator that this machine lacks or that cannot do the work
    ├── OutputError              a folder or file that cannot or must not be written
    ├── NetworkError             the hub, or the network between it and this machine
    ├── MissingExtraError        an optional package; the message gives the pip command
    └── Stopped                  a signal ended training early; the message says how to resume

Code that calls a library translates the library's errors (``raise DataError(...) from exc``), so callers do not need to
know the library. Programming errors stay ``AssertionError`` or ``TypeError`` and show a traceback. A message says which
file or row is wrong, what is wrong and what to do, in that order.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def first_line(exc: BaseException) -> str:
    """Return the first line of a library's message, and the second if the first ends in a colon."""
    lines = [line.strip() for line in str(exc).strip().splitlines()] or [type(exc).__name__]
    return f"{lines[0]} {lines[1]}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]


class EarmarkError(Exception):
    """Base class of errors caused by input, settings or the machine rather than by a defect in earmark.

    Attributes:
        exit_code: exit code of the command line.
        of_all_ranks: whether every rank of a distributed run raises the same error, so that only rank 0 shows it.
    """

    exit_code = 2
    of_all_ranks = False


class UsageError(EarmarkError):
    """A flag, a configuration file or an argument is wrong."""


class InputTypeError(UsageError, TypeError):
    """An argument of the Python API has a type that is not accepted. ``except TypeError`` also catches it."""


def as_list(name: str, given: object) -> list[Any]:
    """Return an argument of the Python API as a list; ``None`` is the empty list.

    Args:
        name: name of the argument.
        given: what the caller passed.

    Raises:
        InputTypeError: it is a single object.
    """
    if given is None:
        return []
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InputTypeError(f"{name}: {given!r} is not a list. Pass a list, for a single item too.")
    return list(given)


class DataError(EarmarkError):
    """A folder, manifest, archive or data set cannot be read as a table of clips."""


class AudioError(DataError):
    """One recording cannot be used.

    Args:
        source: path of the recording, or the row that names it.
        reason: what is wrong with the recording, without its path.
    """

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = source
        self.reason = reason

    def __reduce__(self) -> tuple[type[AudioError], tuple[str, str]]:
        """Support pickling, so that a worker process can raise this error."""
        return type(self), (self.source, self.reason)


class ModelError(EarmarkError):
    """A checkpoint or an architecture cannot be used as an audio classifier."""


class DeviceError(EarmarkError):
    """The requested device does not exist or cannot do the requested work."""


class OutputError(EarmarkError):
    """A folder or file cannot be written, or must not be overwritten."""


class NetworkError(EarmarkError):
    """The hub cannot be reached, or its response is an error."""


class MissingExtraError(EarmarkError):
    """An optional package is not installed; the message gives the pip command."""


class Stopped(EarmarkError):
    """A signal stopped training, which saved a checkpoint to resume from.

    Args:
        at: where training stopped, without a full stop.
        action: how to resume, as a sentence.
    """

    of_all_ranks = True
    exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again later. Clusters can requeue on it.

    def __init__(self, at: str, action: str = "Run the same command with --resume to continue.") -> None:
        super().__init__(at, action)
        self.at = at
        self.action = action

    def __str__(self) -> str:
        return f"{self.at}. {self.action}"
