"""Every error a user can cause, as one tree.

::

    EarmarkError                 exit code 2, one line, no traceback (unless --debug)
    ├── UsageError               a flag, a configuration file or an argument
    │   └── InputTypeError       an argument of a type that is not accepted; also a TypeError
    ├── DataError                a table of clips: folder, manifest, archive, data set
    │   └── AudioError           one recording: missing, empty, truncated, not audio, NaN
    ├── ModelError               a checkpoint or an architecture
    ├── DeviceError              an accelerator that was asked for and is not there
    ├── OutputError              a folder or file that cannot or must not be written
    ├── NetworkError             the hub, or the way to it
    ├── MissingExtraError        an optional package; the message has the pip command
    └── Stopped                  a signal ended training early; the message says how to go on

Libraries' own errors are translated where they are called (``raise DataError(...) from exc``), so nothing above that
line has to know which library was at work. Programmer errors stay ``AssertionError`` or ``TypeError`` and do show a
traceback. A message says which file or row, what is wrong and what to do, in that order.
"""

from __future__ import annotations


def first_line(exc: BaseException) -> str:
    """What a library's error says, in one line: its first, with the second where the first only announces it."""
    lines = [line.strip() for line in str(exc).strip().splitlines()] or [type(exc).__name__]
    return f"{lines[0]} {lines[1]}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]


class EarmarkError(Exception):
    """Base of all errors caused by input, settings or surroundings rather than by a defect.

    Attributes:
        exit_code: what the command line exits with.
        of_all_ranks: whether every rank of a distributed run raises the same error, of which rank 0 shows it.
    """

    exit_code = 2
    of_all_ranks = False


class UsageError(EarmarkError):
    """A flag, a configuration file or an argument is wrong."""


class InputTypeError(UsageError, TypeError):
    """An argument of the Python API has a type that is not accepted. ``except TypeError`` catches it, too."""


class DataError(EarmarkError):
    """A folder, manifest, archive or data set cannot serve as a table of clips."""


class AudioError(DataError):
    """One recording cannot be used.

    Args:
        source: path of the recording, or the row it came from.
        reason: what is wrong with it, in words, without the path.
    """

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = source
        self.reason = reason

    def __reduce__(self) -> tuple[type[AudioError], tuple[str, str]]:
        """Survive the way back from a worker process."""
        return type(self), (self.source, self.reason)


class ModelError(EarmarkError):
    """A checkpoint or an architecture cannot serve as an audio classifier."""


class DeviceError(EarmarkError):
    """The device asked for is not there or cannot do what was asked of it."""


class OutputError(EarmarkError):
    """A folder or file cannot, or must not, be written."""


class NetworkError(EarmarkError):
    """The hub could not be reached, or answered with a fault."""


class MissingExtraError(EarmarkError):
    """An optional package is not installed; the message holds the pip command."""


class Stopped(EarmarkError):
    """Training was told to stop and has left a checkpoint to go on from."""

    of_all_ranks = True
    exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again later. Clusters can requeue on it.
