"""Rows of CSV that every reader splits where they end."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable


def csv_row(cells: Iterable[object]) -> str:
    """Return one line of CSV that ends in a line feed.

    A cell with any line end in it is quoted. ``csv.writer`` quotes only the line end that it writes itself, so a
    carriage return in a file name would end the row for most readers.
    """
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue()[:-2] + "\n"
