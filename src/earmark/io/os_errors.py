"""Errors of the operating system as errors of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from earmark.errors import EarmarkError


@contextmanager
def os_errors_as(error: type[EarmarkError], what: str, advice: str = "") -> Iterator[None]:
    """Raise an ``OSError`` of the block as ``WHAT (REASON)ADVICE``.

    Args:
        error: the class to raise.
        what: which file cannot be what.
        advice: what follows the system's reason, with its punctuation.
    """
    try:
        yield
    except OSError as exc:
        raise error(f"{what} ({exc.strerror or exc}){advice}") from exc
