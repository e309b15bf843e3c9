"""Refusals and errors as JSON objects with a one-line message."""

from __future__ import annotations

import json
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from earmark.http.scope import NOTES, Header

DEFECT = "internal server error. See the server's log."


@dataclass(frozen=True)
class Refusal:
    """An error response sent without calling the application.

    Attributes:
        status: HTTP status code.
        reason: message, one line.
        more_headers: headers to add to content type and length.
    """

    status: int
    reason: str
    more_headers: tuple[Header, ...] = ()

    @property
    def body(self) -> bytes:
        """The reason as JSON."""
        return json.dumps({"error": self.reason}).encode()

    @property
    def headers(self) -> list[Header]:
        """All headers."""
        length = str(len(self.body)).encode()
        return [(b"content-type", b"application/json"), (b"content-length", length), *self.more_headers]


async def http_error_response(request: Request, exc: Exception) -> Response:
    """Return the response to an ``HTTPException``. The gate logs its message, unless the path does not exist (404)."""
    assert isinstance(exc, HTTPException)
    reason, headers = str(exc.detail), dict(exc.headers or {})
    if exc.status_code == 405:
        allowed = headers.get("Allow", "").split(", ")
        headers["Allow"] = ", ".join([*allowed, *(["HEAD"] if "GET" in allowed and "HEAD" not in allowed else [])])
        reason = f"this route only accepts {headers['Allow']}. Change the method."
    if exc.status_code != 404:
        request.scope[NOTES]["error"] = getattr(exc, "logged", reason)
    return JSONResponse({"error": reason}, exc.status_code, headers=headers)


async def defect_response(request: Request, exc: Exception) -> Response:
    """Return the response to any other exception, which the gate logs."""
    return JSONResponse({"error": DEFECT}, 500)
