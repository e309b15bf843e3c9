"""Names and helpers for ASGI request scopes."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Header = tuple[bytes, bytes]

NOTES = "earmark.notes"  # key of a scope; its value holds fields for the request's log line


def header(scope: Scope, name: bytes) -> str | None:
    """Return the first header named ``name`` (lower case); ``None`` if there is none."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)
