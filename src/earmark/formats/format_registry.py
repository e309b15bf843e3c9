"""All formats, and what the rest of earmark asks of them. No other file lists their names or suffixes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from earmark.errors import DataError
from earmark.extras import require
from earmark.formats.audacity import AUDACITY
from earmark.formats.birdnet import BIRDNET
from earmark.formats.csv_table import CSV
from earmark.formats.format import Format, Wanted, Writer
from earmark.formats.json_lines import JSON_LINES
from earmark.formats.kaleidoscope import KALEIDOSCOPE
from earmark.formats.parquet import PARQUET
from earmark.formats.raven import RAVEN
from earmark.formats.rttm import RTTM
from earmark.formats.sheet import Sheet
from earmark.formats.text_encoding import existing

# In the order in which a file is tried: a format that takes any text comes after those that take one kind of it.
FORMATS: tuple[Format, ...] = (AUDACITY, RAVEN, RTTM, KALEIDOSCOPE, BIRDNET, CSV, JSON_LINES, PARQUET)
DEFAULT_WRITER = CSV.name  # of results on standard output
_SPREADSHEETS = (".xlsx", ".xls", ".ods")


# ---------------------------------------------------------------- reading


def table_suffixes() -> tuple[str, ...]:
    """Return the suffixes of files that may be tables in a folder of recordings."""
    return tuple(suffix for one in FORMATS for suffix in one.suffixes)


def readable_suffixes() -> tuple[str, ...]:
    """Return the suffixes of files that can be read as tables if somebody names them."""
    return tuple(dict.fromkeys((*table_suffixes(), *(suffix for one in FORMATS for suffix in one.named_suffixes))))


def read_table(path: Path, wanted: Wanted) -> Sheet:
    """Read a table in the first format that its suffix and its content fit.

    Args:
        path: the file.
        wanted: columns that are used.

    Raises:
        DataError: no such file, a suffix of no format, or the content is not what the suffix says.
        MissingExtraError: the format needs a package that is not installed.
    """
    suffix = path.suffix.casefold()
    if suffix not in readable_suffixes():
        spreadsheet = " Save the sheet as CSV (UTF-8)." if suffix in _SPREADSHEETS else ""
        raise DataError(f"{path}: not a manifest; its name must end in {', '.join(readable_suffixes())}.{spreadsheet}")
    existing(path)
    for one in FORMATS:
        if one.read is not None and suffix in (*one.suffixes, *one.named_suffixes):
            sheet = one.read(path, wanted)
            if sheet is not None:
                return sheet
    raise DataError(f"{path}: its content is of no format that ends in {suffix}. Export it as CSV")


def interpret(sheet: Sheet) -> None:
    """Give the columns of a table that another program wrote the names that earmark knows."""
    for one in FORMATS:
        if one.recognises is not None and one.interpret is not None and one.recognises(sheet):
            one.interpret(sheet)


# ---------------------------------------------------------------- writing


def writers() -> dict[str, Writer]:
    """Return what ``earmark predict`` can write, by the value of ``--format``."""
    return {one.name: one.writer for one in sorted(FORMATS, key=lambda one: one.name) if one.writer is not None}


def writers_with(condition: Callable[[Writer], object]) -> list[str]:
    """Return the names of the formats for which a condition holds."""
    return [name for name, writer in writers().items() if condition(writer)]


def usable_writer(name: str) -> Writer:
    """Return how a format is written.

    Raises:
        MissingExtraError: it needs a package that is not installed.
    """
    writer = writers()[name]
    if writer.package is not None:
        require(writer.package)
    return writer
