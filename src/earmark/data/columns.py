"""From the columns of any table (CSV, JSON, Parquet, data set) to clips: which column is what, what a cell means."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from earmark.data.clips import Clip, Label
from earmark.errors import DataError
from earmark.tasks import Task

# looked for in this order where no column was asked for
PATH_COLUMNS = ("path", "file", "file_name", "filename", "audio", "audio_filepath", "filepath")


class MissingColumnError(DataError):
    """A table lacks a column that was asked for."""


NUMBER = "value"  # what a number is called whose column has no name of its own


@dataclass(frozen=True)
class Columns:
    """Names of the columns that were asked for.

    Attributes:
        audio: the recording: a path, bytes, or both as ``{"path", "bytes"}``.
        label: the class name.
        group: what must not be in two splits (a speaker, a site); ``None`` for nothing.
        fold: the official fold; ``None`` for the column ``fold``, if there is one.
        task: what a label is: see :func:`read_label`.
        separator: stands between labels of a cell of text.
        needs_labels: whether every clip has to have a label; else one may be without, and so may a whole table in which
            no column is called ``label``.
    """

    audio: str = "audio"
    label: str = "label"
    group: str | None = None
    fold: str | None = None
    task: Task = Task.SINGLE_LABEL
    separator: str = ","
    needs_labels: bool = True


@dataclass(frozen=True)
class FoundColumns:
    """Names of the columns that are there. ``offset`` and ``duration`` are in seconds."""

    audio: str
    label: str | None
    group: str | None = None
    fold: str | None = None
    offset: str | None = None
    duration: str | None = None

    def used(self) -> list[str]:
        """The columns to read."""
        names = (self.audio, self.label, self.group, self.fold, self.offset, self.duration)
        return list(dict.fromkeys(name for name in names if name is not None))


def find_columns(names: Sequence[str], wanted: Columns, origin: str) -> FoundColumns:
    """Match what was asked for with what is there; letter case and blanks around names do not count.

    The manifests of NeMo are understood: ``audio_filepath``, ``offset`` and ``duration`` in seconds, ``label`` or
    ``command``. In other tables ``duration`` is read only beside ``offset``: alone it may be in any unit.

    Args:
        names: columns of the table.
        wanted: columns asked for.
        origin: the table, for messages.

    Raises:
        MissingColumnError: no column with recordings, labels, groups or folds; the message lists the columns there are.
    """
    by_name = {name.strip().casefold(): name for name in reversed(names)} | {name: name for name in names}

    def find(name: str) -> str | None:
        return by_name.get(name) or by_name.get(name.strip().casefold())

    there = "the columns are " + ", ".join(names) if names else "it has no columns"
    usual = PATH_COLUMNS if wanted.audio == Columns.audio else ()  # a name that was given is the only one that will do
    audio = next(filter(None, map(find, (wanted.audio, *usual))), None)
    if audio is None:
        raise MissingColumnError(
            f"{origin}: no column {wanted.audio!r} with the recordings ({there}); name it with --audio_column_name"
        )
    is_nemo = audio == "audio_filepath"
    label = find(wanted.label) or (find("command") if is_nemo and wanted.label == "label" else None)
    if label is None and (wanted.needs_labels or wanted.label != Columns.label):
        raise MissingColumnError(
            f"{origin}: no column {wanted.label!r} with the labels ({there}); name it with --label_column_name"
        )
    group = find(wanted.group) if wanted.group else None
    if wanted.group and group is None:
        raise MissingColumnError(f"{origin}: no column {wanted.group!r} ({there}). Correct --group_column")
    fold = find(wanted.fold or "fold")
    if wanted.fold and fold is None:
        raise MissingColumnError(f"{origin}: no column {wanted.fold!r} ({there}). Correct --fold_column")
    offset = find("offset")
    duration = find("duration") if is_nemo or offset else None
    return FoundColumns(audio, label, group, fold, offset, duration)


def read_label(value: Any, where: str, columns: Columns, names: Sequence[str] | None = None) -> Label | None:
    """What a cell says of its clip: the class name, several of them, or a number, as the task has it.

    Args:
        value: the cell. Of several labels a list, text that is a JSON list, or names with a separator between them;
            an empty list or text says that no label is there.
        where: table and row, for messages.
        columns: the task, and the separator.
        names: class names by number, where the table has them.

    Raises:
        DataError: nothing in it, where labels are needed, or something of another kind.
    """
    if not columns.needs_labels and _says_nothing(value, columns.task, names):
        return None
    if columns.task is Task.REGRESSION:
        return _number(value, where)
    if columns.task is Task.MULTI_LABEL:
        cells = _several(value, where, columns.separator)
        return tuple(dict.fromkeys(class_name(cell, where, names).strip() for cell in cells))
    return class_name(value, where, names)


def _says_nothing(value: Any, task: Task, names: Sequence[str] | None) -> bool:
    """Whether a cell is empty; of several labels an empty text says that none is there."""
    if isinstance(value, str):
        return not value.strip() and task is not Task.MULTI_LABEL
    return value is None or (isinstance(value, float) and math.isnan(value)) or (names is not None and value == -1)


def _number(value: Any, where: str) -> float:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise DataError(f"{where}: has no number")
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError) as exc:
        raise DataError(f"{where}: {value!r:.60} is not a number; --task regression learns one for each clip") from exc
    if not math.isfinite(number):
        raise DataError(f"{where}: {value!r:.60} is not a finite number")
    return number


def _several(value: Any, where: str, separator: str) -> list[Any]:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise DataError(f"{where}: has no labels; a clip with none of them has an empty list or text")
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as exc:
            raise DataError(f"{where}: the labels {value!r:.60} are not a JSON list ({exc.msg})") from exc
    if isinstance(value, str):
        return [name for name in value.split(separator) if name.strip()]
    return list(value) if isinstance(value, list | tuple) else [value]


def class_name(value: Any, where: str, names: Sequence[str] | None = None) -> str:
    """The class name in a cell.

    Args:
        value: the cell; whole numbers become text, or the name they stand for.
        where: table and row, for messages.
        names: class names by number, where the table has them.

    Raises:
        DataError: nothing in it, a list, or a number that is not whole.
    """
    if isinstance(value, str):
        if value.strip():
            return value
        raise DataError(f"{where}: has no label")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and math.isfinite(value) and not value.is_integer():
        raise DataError(
            f"{where}: the label {value} is a measurement, not a class: give class names or whole numbers, or "
            "learn the numbers with --task regression"
        )
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return _name_of_number(int(value), where, names)
    if value is None or isinstance(value, float):
        raise DataError(f"{where}: has no label")
    raise DataError(
        f"{where}: the label is a {type(value).__name__} ({value!r:.60}); give each clip one class name or whole "
        "number, or learn several labels a clip with --task multi_label"
    )


def _name_of_number(number: int, where: str, names: Sequence[str] | None) -> str:
    if names is None:
        return str(number)
    if number == -1:  # how data sets with class names mark a clip without one
        raise DataError(f"{where}: has no label")
    if not 0 <= number < len(names):
        raise DataError(
            f"{where}: the label {number} has no name: the table names {len(names)} classes, 0 to {len(names) - 1}"
        )
    return names[number]


def text_or_none(value: Any) -> str | None:
    """A group or fold as text; ``None`` for an empty cell."""
    if (
        value is None
        or (isinstance(value, str) and not value.strip())
        or (isinstance(value, float) and math.isnan(value))
    ):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)


def plain_value(value: Any) -> str | float | None:
    """A cell of a column that is not used, as text or number; ``None`` for an empty one and for anything else."""
    text = text_or_none(value) if isinstance(value, str | int | float) else None
    return text if isinstance(value, str | bool) or text is None else value


def seconds(value: Any, what: str, where: str) -> float | None:
    """A number of seconds; ``None`` for an empty cell."""
    if value is None or value == "":
        return None
    try:
        return float(value)
    except (TypeError, ValueError) as exc:
        raise DataError(f"{where}: the {what} {value!r} is not a number of seconds") from exc


def path_resolver(folder: str) -> Callable[[str, str], str]:
    """How paths in a table that lies in ``folder`` are read.

    A relative path counts from the table's folder; a file that is not there but is in the working directory is taken
    from there. Backslashes of a table written on Windows become slashes where no file has them in its name.

    Returns:
        ``resolve(path, where) -> path``, which raises ``DataError`` for a web address.
    """

    def resolve(path: str, where: str) -> str:
        if "://" in path:
            raise DataError(f"{where}: {path} is a web address: download the recordings and give their paths")
        path = os.path.expanduser(path)
        beside = os.path.join(folder, path)
        if os.path.isabs(path) or os.path.exists(beside):
            return beside
        if os.path.exists(path):
            return path
        if os.sep == "/" and "\\" in path:
            return resolve(path.replace("\\", "/"), where)
        return beside

    return resolve


def clips_from_rows(
    rows: Iterable[tuple[str, Mapping[str, Any]]], found: FoundColumns, folder: str, columns: Columns
) -> list[Clip]:
    """Clips of a table whose recordings are files.

    Args:
        rows: ``(where, cells)`` pairs; ``where`` is the table and row, for messages.
        found: its columns.
        folder: where the table lies.
        columns: what its labels are.

    Raises:
        DataError: a row without recording or label, or with one of the wrong type; the message names the row.
    """
    resolve = path_resolver(folder)
    used = set(found.used())
    clips = []
    for where, row in rows:
        path = row.get(found.audio)
        if isinstance(path, Mapping):
            path = path.get("path")
        if not isinstance(path, str) or not path.strip():
            raise DataError(f"{where}: column {found.audio!r} has no path ({path!r:.60})")
        clips.append(
            Clip(
                source=path,
                path=resolve(path, where),
                label=read_label(row.get(found.label), where, columns) if found.label else None,
                group=text_or_none(row.get(found.group)) if found.group else None,
                fold=text_or_none(row.get(found.fold)) if found.fold else None,
                offset_s=(seconds(row.get(found.offset), "offset", where) if found.offset else None) or 0.0,
                duration_s=seconds(row.get(found.duration), "duration", where) if found.duration else None,
                metadata={name: plain_value(cell) for name, cell in row.items() if name and name not in used},
            )
        )
    return clips
