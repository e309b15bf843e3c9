"""Format numbers, names and tables for messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def counted(number: int, noun: str) -> str:
    """Return ``"1 clip"``, ``"1,200 clips"`` or ``"2 classes"``; the last word of ``noun`` gets the plural ending."""
    ending = "" if number == 1 else "es" if noun.endswith(("s", "tch")) else "s"  # batches, but epochs
    return f"{number:,} {noun}{ending}"


_SINGULAR = {"are": "is", "have": "has", "were": "was", "do": "does", "them": "it", "they": "it", "these": "this"}


def agreeing(number: int, word: str) -> str:
    """Return a plural verb or pronoun in the form that agrees with ``number``: ``"is"`` for 1 and ``"are"``."""
    return _SINGULAR[word] if number == 1 else word


def and_more(names: Sequence[str], shown: int = 3, separator: str = ", ") -> str:
    """Return the first ``shown`` of ``names``: ``"a, b, c and 4 more"``, ``"a; b; and 4 more"``."""
    comma = ";" if separator == "; " else ""
    more = f"{comma} and {len(names) - shown:,} more" if len(names) > shown else ""
    return separator.join(names[:shown]) + more


def every(number: int, noun: str) -> str:
    """Return ``"the 1 clip"`` or ``"all 1,200 clips"``."""
    return f"{'the' if number == 1 else 'all'} {counted(number, noun)}"


def with_article(noun: str) -> str:
    """Return ``"an onnx"``, ``"a Wav2Vec2Model"`` or ``"a unispeech"``: a name of code with its article."""
    return f"{'an' if noun.casefold().startswith(tuple('aeio')) else 'a'} {noun}"


def none_could(number: int) -> str:
    """Return ``"the recording could not"`` or ``"none of the 3 recordings could"``, the start of a sentence."""
    return "the recording could not" if number == 1 else f"none of the {counted(number, 'recording')} could"


def suggestion(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return ``"; did you mean --threshold?"`` with the known name nearest to ``name``, or nothing if none is near."""
    near = nearest_name(name, known)
    return f"; did you mean {prefix}{near}?" if near else ""


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that ``name`` is probably a misspelling of."""
    near = difflib.get_close_matches(name[:100], sorted(known), n=1, cutoff=0.7)
    return near[0] if near else None


def five_digits(value: float) -> float:
    """Return a number rounded to five significant digits, as pages hold it."""
    return float(f"{value:.5g}")


def format_seconds(seconds: float) -> str:
    """Return a duration as ``45 s``, ``3:05`` or ``2:10:00``."""
    if seconds < 60 or seconds == float("inf"):
        return f"{seconds:.0f} s"
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{s:02d}" if hours else f"{minutes}:{s:02d}"


def format_bytes(count: float) -> str:
    """Return a size as ``512 B``, ``96.0 MB`` or ``1.2 TB``."""
    size, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.0f} {units[0]}" if units[0] == "B" else f"{size:,.1f} {units[0]}"


def in_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table with aligned columns; the first row is its head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    head, *others = (
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    )
    return [head, "| " + " | ".join("-" * width for width in widths) + " |", *others]
