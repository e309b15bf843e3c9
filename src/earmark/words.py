"""Numbers in sentences."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """``"1 clip"``, ``"1,200 clips"``, ``"2 classes"``; the last word of ``noun`` is the one that is counted."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{ending}"


def and_more(names: Sequence[str], shown: int = 3) -> str:
    """``"a, b, c and 4 more"``: the first ``shown`` of ``names``."""
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
