"""Recordings given as objects: ``{"path": ...}``, or SpeechBrain's ``{"file": ..., "start": 0, "stop": 16000}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from earmark.formats.sheet import CellError, Faults, Sheet

_START, _STOP = "start_sample", "stop_sample"  # names that are read as start and end in samples


def flatten_recordings(sheet: Sheet, audio: str) -> None:
    """Replace objects in a column by their paths, and put starts and stops into new columns.

    Args:
        sheet: the table.
        audio: the column of its recordings.

    Raises:
        DataError: a cell names several files.
    """
    cells = sheet.columns[audio]
    if not any(isinstance(cell, Mapping) for cell in cells):
        return
    faults = Faults(sheet.where)
    starts: list[Any] = [None] * len(sheet)
    stops: list[Any] = [None] * len(sheet)
    paths: list[Any] = []
    for index, cell in enumerate(cells):
        if isinstance(cell, Mapping):
            starts[index], stops[index] = cell.get("start"), cell.get("stop")
            try:
                cell = _path(cell)
            except CellError as exc:
                faults.add(index, exc)
        paths.append(cell)
    faults.raise_first()
    times = {name: times for name, times in ((_START, starts), (_STOP, stops)) if any(t is not None for t in times)}
    if times:
        sheet.explain(f"start and stop inside the cells of column `{audio}` were read as samples of the recording")
    others = {name: values for name, values in sheet.columns.items() if name not in times}
    sheet.columns = times | others | {audio: paths}  # first, so that they precede other time columns


def _path(cell: Mapping[str, object]) -> object:
    path, files = cell.get("path") or cell.get("file"), cell.get("files")
    if path or not isinstance(files, list):
        return path
    if len(files) > 1:
        raise CellError(
            f"names {len(files)} files for one clip ({files[0]}, ...)",
            "Mix them into one recording, or use one row per file",
            "several files",
        )
    return files[0] if files else None
