"""All formats, and functions to find one. No other file lists their names or suffixes."""

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

# in the order in which they are tried: formats that accept any text come last
FORMATS: tuple[Format, ...] = (AUDACITY, RAVEN, RTTM, KALEIDOSCOPE, BIRDNET, CSV, JSON_LINES, PARQUET)
DEFAULT_WRITER = CSV.name  # for results on standard output
_SPREADSHEETS = (".xlsx", ".xls", ".ods")


# ---------------------------------------------------------------- reading


def table_suffixes() -> tuple[str, ...]:
    """Return the suffixes of files in a folder of recordings that may be tables."""
    return tuple(suffix for one in FORMATS for suffix in one.suffixes)


def readable_suffixes() -> tuple[str, ...]:
    """Return the suffixes of files that can be read as tables if the user names them."""
    return tuple(dict.fromkeys((*table_suffixes(), *(suffix for one in FORMATS for suffix in one.named_suffixes))))


def read_table(path: Path, wanted: Wanted) -> Sheet:
    """Read a table with the first format that fits its suffix and content.

    Args:
        path: the file.
        wanted: columns to use.

    Raises:
        DataError: the file does not exist, no format has its suffix, or its content does not match the suffix.
        MissingExtraError: the format needs a package that is not installed.
    """
    suffix = path.suffix.casefold()
    if suffix not in readable_suffixes():
        spreadsheet = " Save the sheet as CSV (UTF-8)." if suffix in _SPREADSHEETS else ""
        endings = ", ".join(readable_suffixes())
        raise DataError(f"{path}: not a manifest. Use a file that ends in {endings}.{spreadsheet}")
    existing(path)
    for one in FORMATS:
        if one.read is not None and suffix in (*one.suffixes, *one.named_suffixes):
            sheet = one.read(path, wanted)
            if sheet is not None:
                return sheet
    raise DataError(f"{path}: its content matches no format with the suffix {suffix}. Export it as CSV")


def interpret(sheet: Sheet) -> None:
    """Rename the columns of another program's table to names that earmark knows."""
    for one in FORMATS:
        if one.recognises is not None and one.interpret is not None and one.recognises(sheet):
            one.interpret(sheet)


# ---------------------------------------------------------------- writing


def writers() -> dict[str, Writer]:
    """Return the formats that ``earmark predict`` can write, by the value of ``--format``."""
    return {one.name: one.writer for one in sorted(FORMATS, key=lambda one: one.name) if one.writer is not None}


def writers_with(condition: Callable[[Writer], object]) -> list[str]:
    """Return the names of the formats that fulfil a condition."""
    return [name for name, writer in writers().items() if condition(writer)]


def usable_writer(name: str) -> Writer:
    """Return the writer of a format.

    Raises:
        MissingExtraError: the format needs a package that is not installed.
    """
    writer = writers()[name]
    if writer.package is not None:
        require(writer.package)
    return writer
