"""Several class names in one text."""

from __future__ import annotations

import json
from collections.abc import Sequence


def join_labels(labels: Sequence[str], separator: str = ",") -> str:
    """Several class names as one text, which is read as them again: a JSON list where the separator is in a name."""
    if any(separator in label or label.startswith("[") for label in labels):
        return json.dumps(list(labels), ensure_ascii=False)
    return separator.join(labels)


def split_labels(text: str) -> list[str]:
    """Return the class names that :func:`join_labels` put together with commas.

    Raises:
        ValueError: a JSON list is damaged.
    """
    return (
        [str(name) for name in json.loads(text)] if text.startswith("[") else [name for name in text.split(",") if name]
    )
