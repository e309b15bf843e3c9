"""The name that was probably meant by one that does not exist."""

from __future__ import annotations

import os
from pathlib import Path

from earmark.text import and_more, suggestion

_MOST_COMPARED = 10_000  # names in a folder among which the nearest is looked for


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
