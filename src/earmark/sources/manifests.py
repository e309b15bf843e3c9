"""Manifests: tables of clips in any format (:mod:`earmark.formats`), with one clip per row."""

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

    Row numbers are line numbers in an editor (the header of a CSV is row 1); rows of Parquet start at 1.

    Args:
        path: the manifest; its suffix and content decide its format.
        columns: names of the columns, if they are unusual, and how to read cells.

    Raises:
        DataError: the file does not exist, is not in the format of its suffix, has no rows or lacks a column; or a
            row has no recording or usable label. The message has the row's number.
        MissingExtraError: a format needs a package that is not installed.
    """
    columns = columns or Columns()
    with _without_garbage_collection():
        return list_clips(read_table(Path(path), columns.wanted), columns)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Disable garbage collection in the block: the many objects of a large table have no reference cycles."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
