"""What ASGI says of a request."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Header = tuple[bytes, bytes]

NOTES = "earmark.notes"  # key of a scope: what the log line of the request shall say


def header(scope: Scope, name: bytes) -> str | None:
    """Return the first header of that name, which is in lower case; ``None`` if there is none."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)
