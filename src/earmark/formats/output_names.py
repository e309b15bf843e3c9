"""The table ``name,path`` next to an output, with the name of each recording in the output."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from earmark.io.atomic import writing
from earmark.io.csv_rows import csv_row

NAMES = ".names.csv"  # appended to the name of the output
_HEADER = ["name", "path"]
_ANY_NAME = "surrogateescape"  # file names need not be UTF-8


def write_names(output: Path, names: Mapping[str, str]) -> Path:
    """Write a table with the name and the path of each recording. Return the path of the table.

    Raises:
        OutputError: the table cannot be written.
    """
    path = Path(f"{output}{NAMES}")
    with writing(path) as stream:
        stream.writelines(csv_row(cells) for cells in [_HEADER, *((name, source) for source, name in names.items())])
    return path


def read_names(output: Path) -> dict[str, str]:
    """Return the path of each recording by its name; empty if the output has no table of names."""
    names: dict[str, str] = {}
    with suppress(OSError), open(f"{output}{NAMES}", encoding="utf-8", errors=_ANY_NAME, newline="") as stream:
        rows = csv.reader(stream)
        if next(rows, None) == _HEADER:
            names = {row[0]: row[1] for row in rows if len(row) == len(_HEADER)}
    return names
