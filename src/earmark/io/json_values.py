"""Check the types and ranges of values from JSON files. ``true`` is not a number."""

from __future__ import annotations

import math
from typing import Any


def is_number(value: object) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_positive(value: Any) -> bool:
    """Return whether a value is a finite number above 0."""
    return is_number(value) and value > 0


def is_fraction(value: Any) -> bool:
    """Return whether a value is a number from 0 to 1."""
    return is_number(value) and 0 <= value <= 1


def is_size(value: object) -> bool:
    """Return whether a value is a whole number above 0."""
    return type(value) is int and value > 0


def are_sizes(values: object) -> bool:
    """Return whether a value is a list of at least one item, all whole numbers above 0."""
    return isinstance(values, list) and bool(values) and all(map(is_size, values))


def is_flag(value: object) -> bool:
    """Return whether a value is true or false."""
    return type(value) is bool


def is_text(value: object) -> bool:
    """Return whether a value is text that is not empty."""
    return isinstance(value, str) and bool(value)


def are_texts(values: object) -> bool:
    """Return whether a value is a list of at least one item, all text."""
    return isinstance(values, list) and bool(values) and all(isinstance(value, str) for value in values)
