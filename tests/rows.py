"""Rows of the tables that commands write."""

from __future__ import annotations

import csv
from pathlib import Path


def rows_in(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file, by column."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))
