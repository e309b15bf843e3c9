"""CSV, TSV and other delimited text, read by explicit rules.

Rules:
- ``sep=;`` in the first line, as written by Excel, sets the separator. Otherwise, a ``.tsv`` with a tab in its header
  is separated by tabs, and any other file by comma, tab, semicolon or bar, whichever gives the header the most columns.
- Lines above the header that start with ``#`` are comments, unless the last of them is the header (AudioSet).
- With comma separators, quotes enclose cells (RFC 4180). With tabs, quotes are text unless they enclose a whole cell.
- Cells and column names are stripped. Columns without a name and content are ignored.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from earmark.errors import DataError
from earmark.formats.column_names import is_known_name
from earmark.formats.sheet import CellError, Faults, Sheet
from earmark.formats.text_encoding import decoded_text, existing
from earmark.text import agreeing, counted

_SEPARATORS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
_SEP_LINE = re.compile(r'"?sep=(.?)"?', re.IGNORECASE)
_MOST_LINES = 100  # maximum lines of one row in a table with tabs
_LONGEST_CELL = 2**31 - 1  # largest C long on every system
_Row = tuple[int, list[str]]


def read_delimited(path: Path) -> Sheet:
    """Read a table from a text file.

    Raises:
        DataError: the file cannot be read, has no rows, or a row and the header differ in their number of cells.
    """
    text, reasons = decoded_text(path)
    sheet = Sheet(str(path), str(path.parent), {}, [], reasons, is_text=True)
    lines = text.split("\n")
    first, separator = _first_line(lines, path, sheet)
    rows = _tab_rows(lines, first) if separator == "\t" else _csv_rows(lines, first, separator, path)
    with _long_cells():
        header, first_rows = _header(rows, lines, first, separator, sheet)
        _fill(sheet, header, first_rows, rows, separator, path)
    return sheet


@contextmanager
def _long_cells() -> Iterator[None]:
    """Allow cells of any length: a list of features in an unused column exceeds the limit of ``csv``."""
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _first_line(lines: list[str], path: Path, sheet: Sheet) -> tuple[int, str]:
    """Return the index of the first line that is not empty, a comment or ``sep=``, and the separator."""
    named, comments = "", 0
    for first, line in enumerate(lines):  # noqa: B007 (used after the loop)
        line = line.strip()
        match = None if named else _SEP_LINE.fullmatch(line)
        if match is not None:
            named = match.group(1) or "\t"
        elif line.startswith("#"):
            comments += 1
        elif line:
            break
    else:
        raise DataError(f"{path}: has only comments. Add rows")
    if comments:
        were = agreeing(comments, "were")
        sheet.explain(f"{counted(comments, 'line')} above the table {were} read as comments because of the # in front")
    if named:
        sheet.explain(f"separated by {_SEPARATORS.get(named, named)} because of sep= in its first line")
        return first, named
    width = {separator: _width(lines[first], separator) for separator in _SEPARATORS}
    is_tsv = path.suffix.casefold() == ".tsv" and width["\t"] > 1
    separator = "\t" if is_tsv else max(width, key=lambda name: width[name])
    why = "the name ends in .tsv" if is_tsv else f"this gives the header {counted(width[separator], 'column')}"
    sheet.explain(f"separated by {_SEPARATORS[separator]} because {why}")
    if separator == "\t":
        sheet.explain("quotes were read as text, unless they enclose a whole cell, because tabs separate the cells")
    return first, separator


def _width(line: str, separator: str) -> int:
    if separator == "\t":
        return line.count("\t") + 1
    try:
        return len(next(csv.reader([line], delimiter=separator, skipinitialspace=True)))
    except csv.Error:
        return 1


def _csv_rows(lines: list[str], first: int, separator: str, path: Path) -> Iterator[_Row]:
    """Yield the rows of a table with quoting, each with the number of its last line."""
    reader = csv.reader(
        io.StringIO("\n".join(lines[first:]), newline=""), delimiter=separator, strict=True, skipinitialspace=True
    )
    before = first
    width = 0
    try:
        for cells in reader:
            number = first + reader.line_num
            if number - before > 1 and width > 1:
                inside = lines[before:number]
                if all(line.count(separator) + 1 == width for line in inside):
                    raise DataError(
                        f"{path} row {before + 1}: a quote opens here and closes in row {number}, after lines that "
                        "look like separate rows. Remove the quote, or double it inside a quoted cell"
                    )
            before = number
            width = width or len(cells)
            yield number, cells
    except csv.Error as exc:
        raise DataError(
            f"{path} row {before + 1}: not CSV ({exc}). A quote opens in this row and does not close before the next "
            "separator. Remove it, or double it inside a quoted cell"
        ) from exc


def _tab_rows(lines: list[str], first: int) -> Iterator[_Row]:
    """Yield the rows of a tab-separated table, in which quotes are text unless they enclose a cell."""
    width, index = 0, first
    while index < len(lines):
        line = lines[index]
        index += 1
        cells = line.split("\t")
        if '"' in line:
            if width and len(cells) != width:
                cells, index = _quoted_cells(lines, index, width) or (cells, index)
            cells = [_unquoted(cell) for cell in cells]
        width = width or len(cells)
        yield index, cells


def _unquoted(cell: str) -> str:
    if len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', ""):
        return cell[1:-1].replace('""', '"')
    return cell


def _quoted_cells(lines: list[str], index: int, width: int) -> tuple[list[str], int] | None:
    """Read a row with tabs or line breaks inside quoted cells.

    Returns:
        Its cells and the index after its last line; ``None`` if no number of lines gives ``width`` cells, or if one of
        the next lines is a complete row, so the quote closes nothing.
    """
    for end in range(index, min(index + _MOST_LINES, len(lines)) + 1):
        if end > index and lines[end - 1].count("\t") + 1 == width:
            return None
        if '\t"' not in (text := "\n".join(lines[index - 1 : end])) and not text.startswith('"'):
            return None
        try:
            rows = list(csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True))
        except csv.Error as exc:
            if "end of data" not in str(exc):  # an error that more lines cannot fix
                return None
            continue
        if len(rows) == 1 and len(rows[0]) == width:
            return rows[0], end
    return None


def _header(
    rows: Iterator[_Row], lines: list[str], first: int, separator: str, sheet: Sheet
) -> tuple[list[str], list[_Row]]:
    """Return the column names, and the rows read to find them. AudioSet has its header in the last comment."""
    number, cells = next(rows)
    names = [cell.strip() for cell in cells]
    above = next((line for line in reversed(lines[:first]) if line.strip()), "")
    if above.lstrip().startswith("#") and not any(map(is_known_name, names)):
        comment = next(csv.reader([above.lstrip().lstrip("#").strip()], delimiter=separator, skipinitialspace=True))
        inside = [name.strip() for name in comment]
        if len(inside) == len(names) and any(map(is_known_name, inside)):
            sheet.explain("the last comment line was read as the header because it names the columns")
            return inside, [(number, cells)]
    return names, []


def _fill(
    sheet: Sheet, header: list[str], first_rows: list[_Row], rows: Iterator[_Row], separator: str, path: Path
) -> None:
    """Write the cells into the sheet, column by column."""
    width = len(header)
    kept: list[list[str]] = []
    numbers: list[int] = []
    faulty: list[int] = []
    faults = Faults(lambda index: f"{path} row {faulty[index]}")
    comments = 0

    def take(number: int, cells: list[str]) -> None:
        nonlocal comments
        if not any(cells):
            return
        if cells[0][:1] == "#" and _is_comment(cells, width, sheet.folder):
            comments += 1
            return
        if len(cells) != width:
            if len(cells) > width and not any(map(str.strip, cells[width:])):
                del cells[width:]
            else:
                faulty.append(number)
                faults.add(len(faulty) - 1, _wrong_width(cells, width, separator))
                return
        kept.append(cells)
        numbers.append(number)

    for number, cells in chain(first_rows, rows):
        if len(cells) == width and cells[0] and cells[0][0] != "#":  # nearly all rows
            kept.append(cells)
            numbers.append(number)
        else:
            take(number, cells)
    faults.raise_first()
    if comments:
        were = agreeing(comments, "were")
        sheet.explain(f"{counted(comments, 'row')} with # at the start {were} ignored", is_obvious=False)
    if not kept:
        raise DataError(f"{path}: has no rows. Add some")
    columns = [list(map(str.strip, cells)) for cells in zip(*kept, strict=True)]
    sheet.numbers = numbers
    sheet.columns = dict(_named(header, columns, path, sheet.explain))


def _is_comment(cells: list[str], width: int, folder: str) -> bool:
    """Return whether a line that starts with # is a comment.

    A row has as many cells as the header, and at least two of them are filled or one names a file. If the file without
    the # exists, the row was commented out on purpose.
    """
    if len(cells) < width or any(map(str.strip, cells[width:])):
        return True

    def is_file(cell: str) -> bool:
        return bool(cell) and os.path.isfile(os.path.join(folder, cell))

    if is_file(cells[0].lstrip("# ")) and not is_file(cells[0]):
        return True
    return sum(bool(cell.strip()) for cell in cells) < 2 and not any(map(is_file, cells))


def _wrong_width(cells: list[str], width: int, separator: str) -> CellError:
    name, count = _SEPARATORS.get(separator, separator), len(cells)
    quoted = next((cell for cell in cells if cell.startswith('"')), None) if separator == "\t" else None
    if quoted is not None:
        return CellError(
            f"{counted(count, 'cell')}, but the header has {width}, and the quote that opens in {quoted!r:.40} does "
            "not close before another row",
            "Remove the quote, or close it in the same cell",
            f"{count} cells and a quote",
        )
    if count < width:
        fix = f"Add the missing {name}s between the cells"
    elif separator == "\t":
        fix = "Replace the tabs inside the cells of this row with blanks"
    else:
        fix = f"Put cells that contain a {name} into quotes"
    return CellError(f"{counted(count, 'cell')}, but the header has {width}", fix, f"{count} cells")


def _named(
    header: list[str], columns: list[list[str]], path: Path, explain: Callable[..., None]
) -> Iterator[tuple[str, list[str]]]:
    """Yield the columns by name, without those that have no name and no content."""
    left_out = 0
    seen: set[str] = set()
    for number, (name, cells) in enumerate(zip(header, columns, strict=True), 1):
        if not name:
            left_out += 1
            if any(cells) and number > 1:  # the first may be the index of a pandas table
                explain(f"column {number} is not used because it has no name", is_obvious=False)
            continue
        if name in seen:
            raise DataError(f"{path}: the header has two columns named {name!r}. Rename one of them")
        seen.add(name)
        yield name, cells
    if left_out:
        explain(f"{counted(left_out, 'column')} without a name {agreeing(left_out, 'were')} ignored")


def read_csv(path: Path) -> list[tuple[str, dict[str, str]]]:
    """Return the rows of a CSV or TSV file as ``(where, cells by column)``; messages start with ``where``.

    Raises:
        DataError: see :func:`read_delimited`; or the file does not exist.
    """
    sheet = read_delimited(existing(path))
    names = list(sheet.columns)
    rows = zip(*sheet.columns.values(), strict=True)
    return [(sheet.where(i), dict(zip(names, cells, strict=True))) for i, cells in enumerate(rows)]
