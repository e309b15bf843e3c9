"""Names by which columns are known: recordings and labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

# looked for in this order where no column was asked for
PATH_COLUMNS = (
    *("path", "file", "file_name", "filename", "audio", "audio_filepath", "filepath", "audio_path", "audio_file"),
    *("file_path", "wav", "wav_path", "fname", "slice_file_name", "begin file", "ytid"),
)
# names of columns with class names; if a table has several of them, somebody has to choose
LABEL_COLUMNS = (
    *("labels", "primary_label", "ebird_code", "event_label", "positive_labels", "class", "class_name", "category"),
    *("annotation", "species"),
)


def plain_name(name: str) -> str:
    """Return a column name without letter case, and with one blank for blanks, underscores and hyphens."""
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


_KNOWN = {plain_name(name) for name in ("audio", "label", *PATH_COLUMNS, *LABEL_COLUMNS)}


def is_known_name(name: str) -> bool:
    """Return whether a column of this name is read without being asked for as the recording or the label."""
    return plain_name(name) in _KNOWN


def name_finder(names: Iterable[str]) -> Callable[[str], str | None]:
    """Return a function from a name that was asked for to that of a column: equal, or equal in :func:`plain_name`."""
    there = list(names)
    by_name = {plain_name(name): name for name in reversed(there)} | {name: name for name in there}
    return lambda name: by_name.get(name) or by_name.get(plain_name(name))
