"""Convert errors of the operating system to errors of earmark."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from earmark.errors import EarmarkError


@contextmanager
def os_errors_as(error: type[EarmarkError], what: str, advice: str = "") -> Iterator[None]:
    """Convert an ``OSError`` raised in the block to an error with the message ``WHAT (REASON)ADVICE``.

    Args:
        error: the class to raise.
        what: the file and the operation that failed, such as ``a.csv: cannot be written``.
        advice: text to append, with its punctuation.
    """
    try:
        yield
    except OSError as exc:
        raise error(f"{what} ({exc.strerror or exc}){advice}") from exc
