"""Manifests: tables of clips in any format (:mod:`earmark.formats`), with one clip a row."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from earmark.clips.clip import ClipTable
from earmark.clips.columns import Columns
from earmark.formats.format_registry import read_table
from earmark.sources.tables.build_clips import list_clips


def load_manifest(path: str | os.PathLike[str], columns: Columns | None = None) -> ClipTable:
    """Read a manifest.

    Rows are numbered as an editor numbers lines (the header of a CSV is row 1); rows of Parquet from 1.

    Args:
        path: the manifest; its suffix and its content say what it is.
        columns: names of the columns, if they are not usual ones, and how cells are read.

    Raises:
        DataError: no such file, not what its suffix says, no rows, a column that is missing, or a row without
            recording or usable label; the message names the row.
        MissingExtraError: a format needs a package that is not installed.
    """
    columns = columns or Columns()
    with _without_garbage_collection():
        return list_clips(read_table(Path(path), columns.wanted), columns)


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
