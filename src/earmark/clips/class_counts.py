"""One log line with the classes that were found and their numbers of clips."""

from __future__ import annotations

from collections.abc import Mapping

from earmark.clips.clip import ClipTable
from earmark.text import counted

_NAMED = 20  # with more classes, only the first ones are listed
_NAMED_OF_MANY = 10


def describe_classes(tables: Mapping[str, ClipTable]) -> str:
    """Return the classes of the first split with their clip counts, and the sizes of the other splits.

    Args:
        tables: tables of clips, by the name of their split in messages; at least one.

    Returns:
        E.g. ``2 classes in 16 training clips: high 8, low 8; 4 validation clips``. With more than 20 classes, only the
        first ten are listed, and then the smallest and the largest number of clips of the other classes.
    """
    (split, first), *others = tables.items()
    clips = counted(len(first), f"{split} clip")
    numbers = [clip.label for clip in first if isinstance(clip.label, float)]
    counts = first.label_counts()
    if numbers:
        text = f"{clips} with numbers from {min(numbers):g} to {max(numbers):g}"
    elif counts:
        named = [f"{name} {counts[name]:,}" for name in sorted(counts)]
        if len(named) > _NAMED:
            rest = [counts[name] for name in sorted(counts)[_NAMED_OF_MANY:]]
            more = f"{len(rest):,} more ({min(rest):,} to {max(rest):,} clips)"
            named = [*named[:_NAMED_OF_MANY], f"... and {more}"]
        text = f"{counted(len(counts), 'class')} in {clips}: {', '.join(named)}"
    else:
        text = f"{clips} without labels"
    without = sum(not clip.classes for clip in first) if counts else 0
    text += f", {without:,} without a label" if without else ""
    return "; ".join([text, *(counted(len(table), f"{name} clip") for name, table in others)])
