"""The labelling page over HTTP, for one person on this machine.

The page writes files, so requests are checked. The ``Host`` must be this machine (against DNS rebinding), everything
except the empty page needs the token of this start, and other origins are refused. Clips are requested by number, never
by path.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from earmark import pages
from earmark.errors import AudioError, EarmarkError
from earmark.http.gate import Gate
from earmark.http.lifecycle import Lifecycle
from earmark.http.origins import is_own_page, targets_loopback
from earmark.http.refusal import Refusal, defect_response, http_error_response
from earmark.http.scope import Scope, header
from earmark.label.decisions import ConflictError
from earmark.label.label_kind import Decision
from earmark.label.session import Session
from earmark.label.sound import page_excerpt

TOKEN_HEADER = "X-Earmark-Token"
_TEMPLATE = Path(__file__).with_name("label.html")
_LARGEST_BODY = 100_000  # bytes: a few hundred labels
_SOUNDS_KEPT = 8  # the current clip, the next, and the latest ones


def build_app(session: Session, token: str, lifecycle: Lifecycle) -> object:
    """Return the ASGI application.

    Args:
        session: the clips.
        token: token that the page sends with every request.
        lifecycle: counts requests in flight.
    """

    @lru_cache(maxsize=_SOUNDS_KEPT)
    def sound(at: int) -> tuple[bytes, dict[str, object]]:
        return page_excerpt(session.proposals[at].clip)

    def state(request: Request) -> Response:
        return JSONResponse(session.state())

    def clip(request: Request) -> Response:
        return JSONResponse(session.clip(_place(request, session)))

    def wav(request: Request) -> Response:
        return Response(sound(_place(request, session))[0], media_type="audio/wav")

    def picture(request: Request) -> Response:
        return JSONResponse(sound(_place(request, session))[1])

    async def decide(request: Request) -> Response:
        asked = await _body(request)
        at = _place(request, session)
        was, now = _decision(asked.get("was")), _decision(asked.get("now"))
        return JSONResponse(await run_in_threadpool(session.decide, at, was, now))

    routes = [
        Route("/", _page()),
        Route("/state", state),
        Route("/clips/{at:int}", clip),
        Route("/clips/{at:int}/sound", wav),
        Route("/clips/{at:int}/picture", picture),
        Route("/clips/{at:int}/decide", decide, methods=["POST"]),
    ]
    handlers: Any = {EarmarkError: _answer_error, HTTPException: http_error_response, Exception: defect_response}
    app = Starlette(routes=routes, exception_handlers=handlers)
    return Gate(app, lifecycle, partial(_check_access, token.encode()), headers=_HEADERS)


def _page() -> Callable[[Request], Response]:
    html = pages.render(_TEMPLATE, {})
    script = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)[-1]
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{hashed}'; style-src 'unsafe-inline'; media-src blob:; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {"Content-Security-Policy": policy}

    def give(request: Request) -> Response:
        return Response(html, media_type="text/html; charset=utf-8", headers=headers)

    return give


def _place(request: Request, session: Session) -> int:
    at = int(request.path_params["at"])
    if at >= len(session.proposals):
        raise HTTPException(404, "no such clip. Reload the page")
    return at


async def _body(request: Request) -> dict[str, object]:
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > _LARGEST_BODY:
            raise HTTPException(413, "the body is too long. Send fewer labels")
    try:
        asked = json.loads(data)
    except ValueError as exc:
        raise HTTPException(400, "not JSON. Fix the body") from exc
    if not isinstance(asked, dict):
        raise HTTPException(400, "the body is not an object. Send a JSON object")
    return asked


def _decision(value: object) -> Decision:
    if value is None:
        return None
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str):
        kind, what = value
        if isinstance(what, str):
            return kind, what
        if isinstance(what, list) and all(isinstance(name, str) for name in what):
            return kind, tuple(what)
    raise HTTPException(400, "invalid decision. Send null, [KIND, NAME] or [KIND, [NAME, ...]]")


def _answer_error(request: Request, exc: Exception) -> Response:
    status = 409 if isinstance(exc, ConflictError) else 404 if isinstance(exc, AudioError) else 400
    return JSONResponse({"error": str(exc)}, status)


def _check_access(token: bytes, scope: Scope) -> Refusal | None:
    """Return the reason to refuse a request; ``None`` for pages of this machine with the token of this start."""
    if not targets_loopback(scope):
        return Refusal(403, "this page is only for this machine. Open it as 127.0.0.1 or localhost")
    if not is_own_page(scope):
        return Refusal(403, "pages of other origins are refused. Use the labelling page")
    given = header(scope, TOKEN_HEADER.lower().encode()) or ""
    if scope["path"] != "/" and not hmac.compare_digest(given.encode("latin-1"), token):
        return Refusal(403, "this address is from an earlier start. Open the address that the terminal shows")
    return None


_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
