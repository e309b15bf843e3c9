"""Interpret cells: class names, several labels, numbers, groups."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from earmark.clips.clip import Label
from earmark.clips.columns import Columns
from earmark.errors import DataError
from earmark.formats.cell_text import is_missing
from earmark.formats.sheet import CellError
from earmark.text import with_article

_BRACKETS = {"[": "]", "(": ")", "{": "}"}
_QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_NUMPY_LIST = re.compile(rf"\[\s*(?:{_QUOTED})(?:\s+(?:{_QUOTED}))+\s*\]")
_CHOICES = "choices"  # key of several choices in exports of Label Studio
_LARGEST = 3.4e38  # about the largest number in float32, in which models compute
_HOW_TO_SKIP = "Fill in the cell, or ignore such rows with --on_missing_label skip"


def parse_label(value: object, columns: Columns, names: Sequence[str] | None = None) -> Label | None:
    """Return the label in a cell; ``None`` for a missing label.

    Args:
        value: the cell. Several labels are a list; text that is a JSON or Python list, tuple or set; or names with
            separators. For a task with several labels, an empty list or empty text means that no label applies.
        columns: the task, and the separator.
        names: class names by number, for tables that have them.

    Raises:
        CellError: the cell cannot be read as a label of this task.
    """
    if columns.task.has_several and isinstance(value, str) and not value.strip():
        return ()
    if is_missing(value) or (names is not None and value == -1 and not isinstance(value, bool)):
        return None
    return columns.task.read_label(_Cell(value, columns.separator, names))


@dataclass(frozen=True)
class _Cell:
    """The label in a cell, interpreted for the task."""

    value: Any
    separator: str
    names: Sequence[str] | None = None

    def one_class(self) -> str | None:
        items = _listed(self.value)
        if items is None:
            return class_name(self.value, self.names)
        if len(items) > 1:
            shown = ", ".join(item if isinstance(item, str) else _short(item) for item in items)
            raise CellError(
                f"the label is a list of {len(items)}: {shown:.60}",
                "Give each clip one class name, or add --task multi_label",
            )
        return class_name(items[0], self.names) if items and not is_missing(items[0]) else None

    def classes(self) -> tuple[str, ...]:
        items = _listed(self.value)
        if items is None and isinstance(self.value, str):
            if self.value.lstrip().startswith("["):
                raise CellError(f"the labels {_short(self.value)} are not a valid JSON or Python list", "Fix the list")
            items = [name for name in self.value.split(self.separator) if name.strip()]
        named = [class_name(item, self.names).strip() for item in ([self.value] if items is None else items)]
        return tuple(dict.fromkeys(named))

    def number(self) -> float:
        try:
            number = math.nan if isinstance(self.value, bool) else float(self.value)
        except OverflowError:
            number = math.inf
        except (TypeError, ValueError) as exc:
            raise CellError(
                f"{_short(self.value)} is not a number, but --task regression needs one per clip", "Correct the cell"
            ) from exc
        if not math.isfinite(number):
            raise CellError(f"{_short(self.value)} is not a finite number", "Correct the cell")
        if abs(number) > _LARGEST:
            raise CellError(
                f"{_short(self.value)} is larger than float32 can hold", "Correct the cell, or change the unit"
            )
        return number


class _FolderName(_Cell):
    """The label in the name of a folder: any name is a class."""

    def one_class(self) -> str:
        return str(self.value)


def no_label(columns: Columns, column: str = "") -> CellError:
    """Return the error for a cell without a label."""
    inside = f" in column {column!r}" if column else ""
    hint = columns.task.no_label_hint
    return CellError(f"{columns.task.no_label}{inside}{hint and f'; {hint}'}", _HOW_TO_SKIP)


def read_label(value: object, where: str, columns: Columns, names: Sequence[str] | None = None) -> Label | None:
    """Return the label in one cell: see :func:`parse_label`.

    Raises:
        DataError: the cell is empty although labels are needed, or cannot be read as a label of this task.
    """
    try:
        label = parse_label(value, columns, names)
        if label is None and columns.needs_labels:
            raise no_label(columns)
    except CellError as exc:
        raise DataError(f"{where}: {exc}") from exc
    return label


def label_of_folder(name: str, where: str, columns: Columns) -> Label | None:
    """Return the label in a folder's name. A folder named ``nan`` or ``None`` is a class.

    Raises:
        DataError: the name is not a number although the task is regression.
    """
    try:
        return columns.task.read_label(_FolderName(name, columns.separator))
    except CellError as exc:
        raise DataError(f"{where}: {exc}") from exc


def _listed(value: object) -> list[object] | None:
    """Return the items of a list, or of text that is a list; ``None`` for anything else.

    Python's tuples and sets, numpy's ``['a' 'b']`` and Label Studio's ``{"choices": [...]}`` also count as lists.
    """
    if isinstance(value, Mapping) and list(value) == [_CHOICES]:
        value = value[_CHOICES]
    if isinstance(value, list | tuple | set | frozenset):
        return sorted(value, key=str) if isinstance(value, set | frozenset) else list(value)
    if not isinstance(value, str) or not (text := value.strip()) or text[-1] != _BRACKETS.get(text[0]):
        return None
    if _NUMPY_LIST.fullmatch(text):
        return [ast.literal_eval(item) for item in re.findall(_QUOTED, text)]
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    if found == {}:
        return []
    if isinstance(found, Mapping) and list(found) != [_CHOICES]:
        raise CellError(f"the label {_short(value)} is a dict", "Give the class name, or a list of class names")
    return None if isinstance(found, str | int | float) else _listed(found)


def _short(value: object) -> str:
    """Return the start of a cell for a message, even if it is very long or deeply nested."""
    try:
        return f"{value!r:.60}"
    except (RecursionError, ValueError):  # nested lists, or a number with more digits than Python prints
        return "nested too deeply to show" if isinstance(value, Mapping | list) else "too long to show"


def class_name(value: object, names: Sequence[str] | None = None) -> str:
    """Return the class name in a cell.

    Args:
        value: the cell; whole numbers become text, or the class name with this number.
        names: class names by number, for tables that have them.

    Raises:
        CellError: the cell is empty, a list, or a number that is not whole.
    """
    if isinstance(value, str):
        if value.strip():
            return value.strip()
        raise CellError("has no label")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and math.isfinite(value) and not value.is_integer():
        raise CellError(
            f"the label {value} is a measurement, not a class",
            "Choose the class column with --label_column_name, or add --task regression to predict numbers",
        )
    if isinstance(value, float) and math.isfinite(value):
        value = int(value)
    if isinstance(value, int):
        return _name_of_number(value, names)
    if is_missing(value):
        raise CellError("has no label")
    raise CellError(
        f"the label is {with_article(type(value).__name__)} ({_short(value)})",
        "Give each clip one class name, or add --task multi_label for several",
    )


def _name_of_number(number: int, names: Sequence[str] | None) -> str:
    if names is None:
        return str(number)
    if not 0 <= number < len(names):
        raise CellError(
            f"the label {number} has no class name: the table has classes 0 to {len(names) - 1}", "Correct the label"
        )
    return names[number]


def text_or_none(value: object) -> str | None:
    """Return a group or fold as text; ``None`` for an empty cell."""
    if is_missing(value):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def plain_value(value: object) -> str | float | None:
    """Return a cell of an unused column as text or number; ``None`` for empty cells and other types."""
    if isinstance(value, str):
        return value if value.strip() else None
    if isinstance(value, bool):
        return str(value)
    return value if isinstance(value, int | float) and not is_missing(value) else None
