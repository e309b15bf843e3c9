"""Write several class names into one text, and read them again."""

from __future__ import annotations

import json
from collections.abc import Sequence


def join_labels(labels: Sequence[str], separator: str = ",") -> str:
    """Return class names as one text: separated, or a JSON list if a name contains the separator."""
    if any(separator in label or label.startswith("[") for label in labels):
        return json.dumps(list(labels), ensure_ascii=False)
    return separator.join(labels)


def split_labels(text: str) -> list[str]:
    """Return the class names in a text that :func:`join_labels` made with commas.

    Raises:
        ValueError: the text begins like a JSON list and is not one.
    """
    return (
        [str(name) for name in json.loads(text)] if text.startswith("[") else [name for name in text.split(",") if name]
    )
