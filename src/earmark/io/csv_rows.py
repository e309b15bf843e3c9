"""CSV rows that every reader splits correctly."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable


def csv_row(cells: Iterable[object]) -> str:
    """Return one CSV line that ends in a line feed.

    A cell that contains any line ending is quoted. ``csv.writer`` quotes only its own line ending, so most readers
    would end the row at a carriage return in a file name.
    """
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue()[:-2] + "\n"
