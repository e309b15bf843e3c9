"""Suggest an existing name for a file or folder that does not exist."""

from __future__ import annotations

import os
from pathlib import Path

from earmark.text import and_more, suggestion

_MOST_COMPARED = 10_000  # names in a folder that are compared


def path_suggestion(
    missing: Path, *, folders: bool | None = None, listed: bool = True, fix: str = "Fix the path."
) -> str:
    """Return the end of an error message about a path that does not exist: what is there instead, and what to do.

    Args:
        missing: the path that does not exist.
        folders: suggest only folders (``True``) or only files of the same type (``False``); ``None`` suggests both.
        listed: whether to list the first names in the folder if no name is similar.
        fix: what to do if no name is similar.

    Returns:
        The most similar name in its folder, or the first names there and the fix. Hidden names are left out, unless
        ``missing`` is hidden.
    """
    suffix = missing.suffix.casefold()
    others: list[str] = []
    try:
        with os.scandir(missing.parent) as entries:
            for entry in entries:
                if entry.name.startswith(".") and not missing.name.startswith("."):
                    continue
                is_alike = os.path.splitext(entry.name)[1].casefold() == suffix
                if folders is None or (entry.is_dir() if folders else is_alike):
                    others.append(entry.name)
                if len(others) == _MOST_COMPARED:
                    break
    except OSError:
        return f". {fix}"
    others.sort()
    near = suggestion(missing.name, others, "" if missing.parent == Path() else f"{missing.parent.as_posix()}/")
    return near or (f"; {missing.parent} holds {and_more(others)}. {fix}" if listed and others else f". {fix}")
