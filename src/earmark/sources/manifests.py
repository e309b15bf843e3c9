"""Manifests: a CSV, TSV, JSON, JSON Lines or Parquet file, or a table of Raven or Audacity, with one clip a row."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from earmark.clips.clip import ClipTable
from earmark.clips.columns import Columns
from earmark.errors import DataError
from earmark.sources.tables.build_clips import clips_of
from earmark.sources.tables.delimited import read_csv, read_delimited
from earmark.sources.tables.json_rows import read_json
from earmark.sources.tables.raven import read_label_track
from earmark.sources.tables.text import existing

MANIFEST_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")  # files that are looked for in folders
_READABLE = (*MANIFEST_SUFFIXES, ".txt")

__all__ = ["MANIFEST_SUFFIXES", "load_manifest", "read_csv"]


def load_manifest(path: str | os.PathLike[str], columns: Columns | None = None) -> ClipTable:
    """Read a manifest.

    Rows are numbered as an editor numbers lines (the header of a CSV is row 1); rows of Parquet from 1.

    Args:
        path: the manifest; its suffix says what it is.
        columns: names of the columns, if they are not usual ones, and how cells are read.

    Raises:
        DataError: no such file, not what its suffix says, no rows, a column that is missing, or a row without
            recording or usable label; the message names the row.
        MissingExtraError: Parquet without the package ``datasets``.
    """
    path, columns = Path(path), columns or Columns()
    suffix = path.suffix.casefold()
    if suffix not in _READABLE:
        excel = " Save the sheet as CSV (UTF-8)." if suffix in (".xlsx", ".xls", ".ods") else ""
        raise DataError(f"{path}: not a manifest; its name must end in {', '.join(_READABLE)}.{excel}")
    existing(path)
    with _without_garbage_collection():
        return _load(path, suffix, columns)


def _load(path: Path, suffix: str, columns: Columns) -> ClipTable:
    if suffix == ".parquet":
        from earmark.sources.hub import load_parquet

        return load_parquet(path, columns)
    if suffix in (".json", ".jsonl"):
        return clips_of(read_json(path, (columns.audio, columns.label)), columns)
    sheet = read_label_track(path) if suffix == ".txt" else None
    return clips_of(sheet or read_delimited(path), columns)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Keep Python from looking for reference cycles: among the millions of objects of a large table there are none."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
