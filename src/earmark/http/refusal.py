"""Refusals and errors: every one is a JSON object with one line."""

from __future__ import annotations

import json
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from earmark.http.scope import NOTES, Header

DEFECT = "a defect of this server; its log has more"


@dataclass(frozen=True)
class Refusal:
    """An answer that needs no application.

    Attributes:
        status: HTTP status code.
        reason: one line.
        more_headers: headers beside those of the body.
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


async def answer_http_error(request: Request, exc: Exception) -> Response:
    """Answer an ``HTTPException``. Its text is noted for the log, unless it is of a path that does not exist."""
    assert isinstance(exc, HTTPException)
    reason, headers = str(exc.detail), dict(exc.headers or {})
    if exc.status_code == 405:
        allowed = headers.get("Allow", "").split(", ")
        headers["Allow"] = ", ".join([*allowed, *(["HEAD"] if "GET" in allowed and "HEAD" not in allowed else [])])
        reason = f"this route takes {headers['Allow']} only"
    if exc.status_code != 404:
        request.scope[NOTES]["error"] = getattr(exc, "logged", reason)
    return JSONResponse({"error": reason}, exc.status_code, headers=headers)


async def answer_defect(request: Request, exc: Exception) -> Response:
    """Answer any other exception, which goes on to the gate, where it is logged."""
    return JSONResponse({"error": DEFECT}, 500)
