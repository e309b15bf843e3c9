"""Parquet, an extra: read with the package ``datasets``, written from finished CSV rows."""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from csv import reader
from pathlib import Path

from earmark.errors import OutputError
from earmark.extras import require
from earmark.formats.csv_table import csv_rows
from earmark.formats.format import Format, Wanted, Writer
from earmark.formats.sheet import Sheet
from earmark.io.atomic import replacing
from earmark.text import agreeing, counted

logger = logging.getLogger(__name__)


def read_parquet(path: Path, wanted: Wanted) -> Sheet:
    """Read a file whose recordings are paths, embedded files or samples.

    Raises:
        DataError: the file is not Parquet, has no rows, or has samples without their rate.
        MissingExtraError: the package ``datasets`` is not installed.
    """
    from earmark.formats.arrow_table import dataset_errors, dataset_sheet

    datasets = require("datasets")
    with dataset_errors(str(path)):
        table = datasets.Dataset.from_parquet(str(path))
    return dataset_sheet(table, str(path), str(path.parent), wanted)


def csv_to_parquet(rows: Path, target: Path) -> None:
    """Write ``target`` completely or not at all. Times and scores become numbers, empty cells nulls.

    Parquet only stores UTF-8: other bytes in file names are written as ``\\xNN``.

    Args:
        rows: CSV with column names, as written by :class:`earmark.formats.csv_table.CsvRows`.
        target: the Parquet file.

    Raises:
        MissingExtraError: pyarrow is not installed.
        OutputError: the rows are damaged.
    """
    require("pyarrow")
    import pyarrow as pa
    from pyarrow import csv, parquet

    with open(rows, encoding="utf-8", errors="surrogateescape") as stream:
        names = next(reader(stream))
    words = re.compile(r"path|labels?|label_\d+|below_threshold")
    types = {name: pa.string() if words.fullmatch(name) else pa.float64() for name in names}
    escaped = Path(f"{rows}.utf8")
    options = csv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=[""])
    try:
        source = escaped if _escape_bytes(rows, escaped, target) else rows
        with (
            replacing(target) as part,
            csv.open_csv(
                source, convert_options=options, parse_options=csv.ParseOptions(newlines_in_values=True)
            ) as table,
            parquet.ParquetWriter(part, table.schema) as writer,
        ):
            for batch in table:
                writer.write_batch(batch)
    except pa.ArrowInvalid as exc:
        raise OutputError(f"{target}: {str(exc).splitlines()[0]}. Use the rows in {rows}") from exc
    finally:
        with suppress(OSError):
            escaped.unlink()


def _escape_bytes(rows: Path, escaped: Path, target: Path) -> bool:
    """Write the rows as valid UTF-8 to ``escaped``. Return ``False`` without writing if they already are."""
    with open(rows, "rb") as stream:
        odd = sum(not _is_utf8(line) for line in stream)
        if not odd:
            return False
        stream.seek(0)
        with open(escaped, "wb") as copy:
            copy.writelines(line.decode("utf-8", "backslashreplace").encode() for line in stream)
    logger.warning(
        "%s: %s %s a file name that is not UTF-8, which Parquet cannot store. Its bytes are written as \\xNN",
        target,
        counted(odd, "row"),
        agreeing(odd, "have"),
    )
    return True


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


PARQUET = Format(
    name="parquet",
    suffixes=(".parquet",),
    read=read_parquet,
    writer=Writer(csv_rows, suffix=".parquet", escapes_bytes=True, convert=csv_to_parquet, package="pyarrow"),
)
