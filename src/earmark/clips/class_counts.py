"""One line that says which classes were found and how many clips each has, before anything is made of them."""

from __future__ import annotations

from collections.abc import Mapping

from earmark.clips.clip import ClipTable
from earmark.text import counted

_NAMED = 20  # classes named in the line
_NAMED_OF_MANY = 10


def describe_classes(tables: Mapping[str, ClipTable]) -> str:
    """Return the classes of the first split with their clips, and the number of clips in the others.

    Args:
        tables: clips by what messages call their split; at least one.

    Returns:
        E.g. ``2 classes in 16 training clips: high 8, low 8; 4 validation clips``. Of more than 20 classes the first
        ten are named, with the fewest and most clips of a class.
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
            more = f"{len(named) - _NAMED_OF_MANY:,} more ({min(counts.values()):,} to {max(counts.values()):,} clips)"
            named = [*named[:_NAMED_OF_MANY], f"... and {more}"]
        text = f"{counted(len(counts), 'class')} in {clips}: {', '.join(named)}"
    else:
        text = f"{clips} without labels"
    without = sum(not clip.classes for clip in first) if counts else 0
    text += f", {without:,} without a label" if without else ""
    return "; ".join([text, *(counted(len(table), f"{name} clip") for name, table in others)])
