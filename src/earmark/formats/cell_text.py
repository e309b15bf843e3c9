"""Text with a special meaning in cells of any format: missing values, and several labels in one cell."""

from __future__ import annotations

import math

# how pandas, numpy, Python, R, SQL and Excel write a missing value; lower-case "none" is a word
MISSING = frozenset(
    ("", "nan", "NaN", "NAN", "-nan", "None", "null", "NULL", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaT", "\\N")
)


def is_missing(value: object) -> bool:
    """Return whether a cell is empty or has text for a missing value."""
    if isinstance(value, str):
        return value.strip() in MISSING
    return value is None or (isinstance(value, float) and math.isnan(value))
