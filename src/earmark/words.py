"""Numbers and names in sentences."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def counted(number: int, noun: str) -> str:
    """``"1 clip"``, ``"1,200 clips"``, ``"2 classes"``; the last word of ``noun`` is the one that is counted."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{ending}"


_SINGULAR = {"are": "is", "have": "has", "were": "was", "do": "does", "them": "it", "they": "it", "these": "this"}


def agreeing(number: int, word: str) -> str:
    """Return a verb or pronoun of the plural as it is beside ``number``: ``"is"`` for 1 and ``"are"``."""
    return _SINGULAR[word] if number == 1 else word


def and_more(names: Sequence[str], shown: int = 3) -> str:
    """``"a, b, c and 4 more"``: the first ``shown`` of ``names``."""
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def every(number: int, noun: str) -> str:
    """``"the 1 clip"``, ``"all 1,200 clips"``: a number of things without exception."""
    return f"{'the' if number == 1 else 'all'} {counted(number, noun)}"


def none_of(number: int, noun: str) -> str:
    """``"the recording could not"``, ``"none of the 3 recordings could"``: the subject of a sentence about all of them.

    Args:
        number: how many there are.
        noun: what is counted.
    """
    return f"the {noun} could not" if number == 1 else f"none of the {counted(number, noun)} could"


def suggestion(name: str, known: Iterable[str], prefix: str = "") -> str:
    """``"; did you mean --threshold?"``: the known name nearest to ``name``, or nothing if none is near."""
    near = nearest_name(name, known)
    return f"; did you mean {prefix}{near}?" if near else ""


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that ``name`` is probably a misspelling of."""
    near = difflib.get_close_matches(name[:100], sorted(known), n=1, cutoff=0.7)
    return near[0] if near else None
