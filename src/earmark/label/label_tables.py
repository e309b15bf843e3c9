"""``labels.csv`` and ``set_aside.csv``, which are saved after every decision.

Each save replaces a whole file in one step, so it can be read at any time and no crash leaves half of it. If another
program has changed a file, it is read again first, and the changes are kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from earmark.errors import DataError, OutputError
from earmark.formats.delimited import read_csv
from earmark.io.atomic import writing
from earmark.io.csv_rows import csv_row
from earmark.io.os_errors import os_errors_as

# a clip in a table: path, and start and length as text, empty for a whole recording
Key = tuple[str, str, str]
_CUT = ("offset", "duration")


class Table:
    """A CSV file with one row per clip.

    Args:
        path: path of the file. It need not exist, and a table without rows has no file.
        columns: columns that the file must have, including ``path``.

    Attributes:
        rows: rows by :func:`absolute_key`.

    Raises:
        OutputError: another file is at this path.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.rows: dict[Key, dict[str, str]] = {}
        self._columns = list(columns)
        self._wanted = tuple(columns)
        self._seen: tuple[int, int, int] | None = None
        self.read_if_changed()

    def read_if_changed(self) -> bool:
        """Read the file if another program has changed it. Return whether it has."""
        state = _state(self.path)
        if state == self._seen:
            return False
        rows: dict[Key, dict[str, str]] = {}
        columns = list(self._wanted)
        if state is not None:
            for where, row in _read_rows(self.path):
                missing = [name for name in self._wanted if name not in row and name not in _CUT]
                if missing:
                    raise OutputError(
                        f"{self.path}: no column {missing[0]!r}, so `earmark label` has not written this file. "
                        "Choose another --output_dir"
                    )
                if not row["path"].strip():
                    raise OutputError(f"{where}: has no path. Remove the row")
                rows[absolute_key(self.path.parent, (row["path"], row.get("offset", ""), row.get("duration", "")))] = (
                    row
                )
                columns += [name for name in row if name not in columns]
        self.rows, self._columns, self._seen = rows, columns, state
        return True

    def add_columns(self, names: Iterable[str]) -> None:
        """Add columns to the table."""
        self._columns = list(dict.fromkeys([*self._columns, *names]))

    def write(self, rows: dict[Key, dict[str, str]]) -> None:
        """Replace the rows in the file.

        Raises:
            OutputError: the file cannot be written; it then keeps its old rows.
        """
        if rows:
            with writing(self.path, errors="strict") as stream:
                stream.write(csv_row(self._columns))
                stream.writelines(csv_row(row.get(name, "") for name in self._columns) for row in rows.values())
        else:
            with os_errors_as(OutputError, f"{self.path}: cannot be removed"):
                self.path.unlink(missing_ok=True)
        self.rows, self._seen = rows, _state(self.path)


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        state = os.stat(path)
    except FileNotFoundError:
        return None
    return state.st_mtime_ns, state.st_size, state.st_ino


def _read_rows(path: Path) -> list[tuple[str, dict[str, str]]]:
    try:
        return read_csv(path)
    except DataError as exc:
        raise OutputError(f"{exc}. Fix the file; earmark has not changed it") from exc


def absolute_key(folder: Path, key: Key) -> Key:
    """Return an equal key for all names of a clip: absolute or relative to ``folder``, 2 s or 2.0 s."""
    path, offset, duration = key
    whole = os.path.normpath(os.path.join(os.path.abspath(folder), os.path.expanduser(path)))
    return whole, _number(offset) if _number(offset) != "0.0" else "", _number(duration)


def _number(text: str) -> str:
    try:
        return repr(float(text))
    except ValueError:
        return text.strip()


def key_cells(key: Key) -> dict[str, str]:
    """Return the cells that identify the clip of a row."""
    path, offset, duration = key
    return {"path": path} | ({"offset": offset, "duration": duration} if offset or duration else {})
