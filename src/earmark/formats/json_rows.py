"""JSON tables: a list of objects, one object per line, and output of pandas, NeMo, SpeechBrain and Label Studio."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from earmark.errors import DataError
from earmark.formats.column_names import is_known_name
from earmark.formats.sheet import Sheet
from earmark.formats.text_encoding import decoded_text
from earmark.text import with_article

_Row = tuple[int, dict[str, Any]]
_LONG_NUMBER = re.compile(r"\d{4000,}")
_FORMS = "a list of objects, one per clip, or one object per line"


def read_json(path: Path, asked_for: tuple[str, ...] = ()) -> Sheet:
    """Read a JSON or JSON Lines table.

    Args:
        path: the file.
        asked_for: names besides the usual ones that show whether keys are columns or rows.

    Raises:
        DataError: the file cannot be read, is not JSON, or has another form.
    """
    text, reasons = decoded_text(path)
    sheet = Sheet(str(path), str(path.parent), {}, [], reasons)
    try:
        whole = _parsed(text, str(path))
    except json.JSONDecodeError as exc:
        rows = list(_lines(text, path, exc))
        sheet.explain("one object per line")
    else:
        rows = list(_rows(whole, sheet, {*asked_for}))
    if not rows:
        raise DataError(f"{path}: has no rows. Add some")
    names = dict.fromkeys(name for _, row in rows for name in row)
    sheet.numbers = [number for number, _ in rows]
    sheet.columns = {name: [row.get(name) for _, row in rows] for name in names}
    return sheet


def _rows(whole: Any, sheet: Sheet, asked_for: set[str]) -> Iterator[_Row]:
    """Yield the rows of a file that is a single JSON value."""
    path = sheet.origin
    if isinstance(whole, Mapping):
        whole = _of_object(whole, sheet, asked_for)
    if not isinstance(whole, list):
        raise DataError(f"{path}: contains {with_article(type(whole).__name__)}. Use {_FORMS}")
    if whole and isinstance(whole[0], list):
        raise DataError(
            f"{path}: is a list of lists without column names, as pandas writes with orient='values'. Use {_FORMS}: "
            "to_json(orient='records')"
        )
    if whole and isinstance(whole[0], Mapping) and {"data", "annotations"} <= set(whole[0]):
        raise DataError(f"{path}: is a full export of Label Studio. Export it as JSON-MIN or CSV instead")
    for number, row in enumerate(whole, 1):
        yield number, _object(row, f"{path} row {number}")


def _of_object(whole: Mapping[str, Any], sheet: Sheet, asked_for: set[str]) -> Any:
    """Return the rows of a file that is a single object."""
    data, names = whole.get("data"), whole.get("columns")
    if isinstance(data, list) and isinstance(names, list) and all(isinstance(row, list) for row in data):
        sheet.explain("column names under `columns` and rows under `data`, as pandas writes with orient='split'")
        return [dict(zip(map(str, names), row, strict=False)) for row in data]
    if isinstance(data, list):
        sheet.explain("rows read from the list under `data`")
        return data
    values = list(whole.values())
    if values and all(isinstance(value, Mapping) for value in values):
        if _names_columns(whole, asked_for):
            sheet.explain("one object per column, as written by pandas.to_json, because its keys are column names")
            keys = dict.fromkeys(key for cells in values for key in cells)
            return [{name: cells.get(key) for name, cells in whole.items()} for key in keys]
        if any(_names_columns(value, asked_for) for value in values):
            sheet.explain("one object per clip by its ID, as written by SpeechBrain and pandas (orient='index')")
            return [{"id": key, **row} for key, row in whole.items()]
        raise DataError(
            f"{sheet.origin}: is an object of objects, but neither the outer keys ({_shown(whole)}) nor the inner keys "
            f"({_shown(values[0])}) include a column of recordings. Name that column with --audio_column_name"
        )
    if values and all(isinstance(value, list) for value in values):
        if len(set(map(len, values))) == 1 and _names_columns(whole, asked_for):
            sheet.explain("one list per column")
            return [dict(zip(whole, cells, strict=True)) for cells in zip(*values, strict=True)]
        raise DataError(
            f"{sheet.origin}: has lists under {_shown(whole)}. Use {_FORMS}, in one file per split "
            "(--train_file, --eval_file, --test_file)"
        )
    return [whole]


def _names_columns(keys: Mapping[str, object], asked_for: set[str]) -> bool:
    return any(key in asked_for or is_known_name(key) for key in keys)


def _shown(keys: Mapping[str, Any]) -> str:
    return ", ".join(list(keys)[:3]) + (", ..." if len(keys) > 3 else "")


def _lines(text: str, path: Path, whole: json.JSONDecodeError) -> Iterator[_Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path} row {number}"
        try:
            row = _parsed(line, where)
        except json.JSONDecodeError as fault:
            is_one_value = path.suffix.casefold() == ".json" and whole.lineno > number  # the error is further on
            where, error = (f"{path} row {whole.lineno}", whole) if is_one_value else (where, fault)
            raise DataError(f"{where}: not JSON ({error.msg} at character {error.colno}). Fix the syntax") from error
        yield number, _object(row, where)


def _parsed(text: str, where: str) -> object:
    """Return the value of a JSON text.

    Raises:
        json.JSONDecodeError: it is not JSON.
        DataError: Python cannot read the JSON.
    """
    try:
        return json.loads(text, object_pairs_hook=_object_of_pairs)
    except json.JSONDecodeError:
        raise
    except _RepeatedKeyError as exc:
        raise DataError(f"{where}: {exc}. Keep one of them") from exc
    except RecursionError as exc:
        raise DataError(f"{where}: lists or objects are nested too deeply. Use {_FORMS}") from exc
    except ValueError as exc:  # Python refuses very long numbers because converting them takes hours
        number = _LONG_NUMBER.search(text)
        row = text.count("\n", 0, number.start()) + 1 if number and " row " not in where else None
        raise DataError(
            f"{where}{f' row {row}' if row else ''}: has a whole number with more digits than Python reads "
            f"({sys.get_int_max_str_digits():,}). Write it as text, or remove it"
        ) from exc


class _RepeatedKeyError(Exception):
    """A key occurs twice in a JSON object, so one of its values would be lost."""


def _object_of_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    whole = dict(pairs)
    if len(whole) < len(pairs):
        name = Counter(name for name, _ in pairs).most_common(1)[0][0]
        values = " and ".join(f"{value!r:.40}" for key, value in pairs if key == name)
        raise _RepeatedKeyError(f"an object has the key {name!r} more than once, with {values}")
    return whole


def _object(row: object, where: str) -> dict[str, object]:
    if not isinstance(row, dict):
        raise DataError(
            f"{where}: contains {with_article(type(row).__name__)}. Use an object with the keys of one clip"
        )
    return row
