"""Usual names of columns with recordings and labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

# tried in this order if the user names no column
PATH_COLUMNS = (
    *("path", "file", "file_name", "filename", "audio", "audio_filepath", "filepath", "audio_path", "audio_file"),
    *("file_path", "wav", "wav_path", "fname", "slice_file_name", "begin file", "ytid"),
)
# names of columns with class names; if a table has several of them, the user must choose
LABEL_COLUMNS = (
    *("labels", "primary_label", "ebird_code", "event_label", "positive_labels", "class", "class_name", "category"),
    *("annotation", "species"),
)


def plain_name(name: str) -> str:
    """Return a column name in lower case, with single blanks in place of blanks, underscores and hyphens."""
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


_KNOWN = {plain_name(name) for name in ("audio", "label", *PATH_COLUMNS, *LABEL_COLUMNS)}


def is_known_name(name: str) -> bool:
    """Return whether a column with this name is used by default for the recording or the label."""
    return plain_name(name) in _KNOWN


def name_finder(names: Iterable[str]) -> Callable[[str], str | None]:
    """Return a function that finds a column by name: an exact match, or a match by :func:`plain_name`."""
    there = list(names)
    by_name = {plain_name(name): name for name in reversed(there)} | {name: name for name in there}
    return lambda name: by_name.get(name) or by_name.get(plain_name(name))
