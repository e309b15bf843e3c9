"""Numbers in sentences."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """``"1 clip"``, ``"1,200 clips"``, ``"2 classes"``; the last word of ``noun`` is the one that is counted."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{ending}"
