"""Manifests: a CSV, TSV, JSON, JSON Lines or Parquet file with one recording a row."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from earmark.data.clips import ClipTable
from earmark.data.columns import Columns, clips_from_rows, find_columns
from earmark.errors import DataError
from earmark.tasks import Task

MANIFEST_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")

_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_Rows = list[tuple[str, dict[str, Any]]]


def load_manifest(path: str | os.PathLike[str], columns: Columns | None = None) -> ClipTable:
    """Read a manifest.

    Relative paths count from the manifest's folder, then from the working directory. Rows are numbered as an editor
    numbers lines (a CSV's header is row 1); rows of Parquet from 1.

    Args:
        path: the manifest; its ending says what it is.
        columns: names of the columns, where they are not ``audio`` or one of the usual ones, and ``label``.

    Raises:
        DataError: no such file, not what its ending says, no rows, a column that is missing, or a row without
            recording or usable label; the message names the row.
        MissingExtraError: Parquet without the package ``datasets``.
    """
    path, columns = Path(path), columns or Columns()
    suffix = path.suffix.casefold()
    if suffix not in MANIFEST_SUFFIXES:
        raise DataError(f"{path}: not a manifest; its name must end in {', '.join(MANIFEST_SUFFIXES)}")
    if suffix == ".parquet":
        from earmark.data.hub import load_parquet

        return load_parquet(_existing(path), columns)
    text = _read_text(_existing(path))
    rows = _csv_rows(text, path, suffix) if suffix in (".csv", ".tsv") else _json_rows(text, path)
    if not rows:
        raise DataError(f"{path}: has no rows")
    names = list(rows[0][1]) if suffix in (".csv", ".tsv") else _keys(rows)
    found = find_columns(names, columns, str(path))
    if suffix in (".csv", ".tsv") and columns.task is Task.SINGLE_LABEL and found.label:
        _check_labels_are_classes(rows, found.label, path)
    return ClipTable(clips_from_rows(rows, found, str(path.parent), columns), str(path))


def read_csv(path: Path) -> list[tuple[str, dict[str, str]]]:
    """Rows of a CSV or TSV file as ``(where, cells by column)``; ``where`` is the file and row, for messages.

    Raises:
        DataError: no such file, not UTF-8, no CSV, or no rows.
    """
    rows = _csv_rows(_read_text(_existing(path)), path, path.suffix.casefold())
    if not rows:
        raise DataError(f"{path}: has no rows")
    return rows


def _existing(path: Path) -> Path:
    if path.is_file():
        return path
    if path.is_dir():
        raise DataError(f"{path}: is a folder, not a manifest; give it as --data_dir")
    raise DataError(f"{path}: no such file")


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise DataError(f"{path}: cannot be read ({exc.strerror})") from exc
    if data.startswith(_UTF16_MARKS):
        raise DataError(f"{path}: is UTF-16; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        row = data.count(b"\n", 0, exc.start) + 1
        byte = data[exc.start]
        raise DataError(f"{path} row {row}: byte 0x{byte:02x} is not UTF-8; save the file as UTF-8") from exc
    if not text.strip():
        raise DataError(f"{path}: the file is empty")
    return text


def _csv_rows(text: str, path: Path, suffix: str) -> _Rows:
    header_line = text.lstrip().split("\n", 1)[0]
    delimiter = "\t" if suffix == ".tsv" else ","
    if delimiter not in header_line and ";" in header_line:  # spreadsheets where the comma is the decimal sign
        delimiter = ";"
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: _Rows = []
    header: list[str] | None = None
    try:
        for cells in reader:
            if not any(cells):
                continue
            if header is None:
                header = _checked_header(cells, path)
            elif len(cells) != len(header):
                raise DataError(
                    f"{path} row {reader.line_num}: {len(cells)} cells, the header has {len(header)}; "
                    "a cell with a comma in it needs quotes"
                )
            else:
                rows.append((f"{path} row {reader.line_num}", dict(zip(header, cells, strict=True))))
    except csv.Error as exc:
        raise DataError(f"{path} row {reader.line_num}: not CSV ({exc})") from exc
    return rows


def _checked_header(cells: list[str], path: Path) -> list[str]:
    twice = sorted({name for name in cells if cells.count(name) > 1})
    if twice:
        raise DataError(f"{path}: the header has two columns called {twice[0]!r}")
    return cells


def _json_rows(text: str, path: Path) -> _Rows:
    """A list of objects, an object with such a list under ``data``, or an object a line, whatever the ending."""
    try:
        whole = json.loads(text)
    except json.JSONDecodeError:
        return list(_json_lines(text, path))
    if isinstance(whole, dict):
        whole = whole["data"] if isinstance(whole.get("data"), list) else [whole]
    if not isinstance(whole, list):
        raise DataError(f"{path}: holds a {type(whole).__name__}, not a list of objects")
    return [_json_row(row, f"{path} row {number}") for number, row in enumerate(whole, 1)]


def _json_lines(text: str, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path} row {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as exc:
            raise DataError(f"{where}: not JSON ({exc.msg} at character {exc.colno})") from exc
        yield _json_row(row, where)


def _json_row(row: Any, where: str) -> tuple[str, dict[str, Any]]:
    if not isinstance(row, dict):
        raise DataError(f"{where}: holds a {type(row).__name__}, not an object with the keys of one clip")
    return where, row


def _keys(rows: _Rows) -> list[str]:
    return list(dict.fromkeys(key for _, row in rows for key in row))


def _check_labels_are_classes(rows: _Rows, column: str, path: Path) -> None:
    """Cells of a CSV are text; a column of nothing but numbers, some not whole, holds measurements."""
    fraction = None
    for where, row in rows:
        cell = row[column].strip()
        if not cell:
            continue
        try:
            number = float(cell)
        except ValueError:
            return
        if not number.is_integer():
            fraction = fraction or f"{where} has {cell}"
    if fraction:
        raise DataError(
            f"{path}: column {column!r} holds measurements ({fraction}), not classes; "
            "name the column with the classes with --label_column_name, or learn the numbers with --task regression"
        )
