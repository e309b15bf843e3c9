"""From rows in CSV to a Parquet file, a batch at a time. pyarrow is an extra."""

from __future__ import annotations

import os
import re
from csv import reader
from pathlib import Path

from earmark.errors import OutputError
from earmark.extras import require


def csv_to_parquet(rows: Path, target: Path) -> None:
    """Write ``target``, whole or not at all; times and scores become numbers, empty cells nulls.

    Args:
        rows: CSV with a head, as :class:`earmark.predict.rows.CsvRows` writes it.
        target: the Parquet file.

    Raises:
        MissingExtraError: pyarrow is not installed.
        OutputError: a file name that is not UTF-8, which Parquet cannot hold.
    """
    require("pyarrow")
    import pyarrow as pa
    from pyarrow import csv, parquet

    with open(rows, encoding="utf-8", errors="surrogateescape") as stream:
        names = next(reader(stream))
    words = re.compile(r"path|labels?|label_\d+|below_threshold")
    types = {name: pa.string() if words.fullmatch(name) else pa.float64() for name in names}
    part = target.with_name(f"{target.name}.writing")
    options = csv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=[""])
    try:
        with (
            csv.open_csv(
                rows, convert_options=options, parse_options=csv.ParseOptions(newlines_in_values=True)
            ) as table,
            parquet.ParquetWriter(part, table.schema) as writer,
        ):
            for batch in table:
                writer.write_batch(batch)
    except pa.ArrowInvalid as exc:
        part.unlink(missing_ok=True)
        raise OutputError(f"{target}: {str(exc).splitlines()[0]}; the rows are in {rows}") from exc
    os.replace(part, target)
