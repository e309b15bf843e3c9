"""The checks and records of every request: credentials, draining, a log line, figures, and an answer that arrives."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.requests import ClientDisconnect

from earmark.serve import page
from earmark.serve.access import Access
from earmark.serve.lifecycle import Lifecycle
from earmark.serve.metrics import Metrics
from earmark.serve.openapi import OPEN_PATHS
from earmark.words import nearest_name

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

NOTES = "earmark.notes"  # key of a scope: what the log line of the request shall say
_OPEN = OPEN_PATHS | page.PATHS  # the page itself asks for the token
ROUTES = frozenset({"/v1/classify", "/v1/timeline", "/v1/stream", "/v1/stream-ticket", "/v1/model", "/metrics", *_OPEN})
_METHODS = frozenset({"GET", "POST", "HEAD", "OPTIONS", "WEBSOCKET"})
DEFECT = "a defect of this server; its log has more"
_NO_CREDENTIALS = {
    "http": "send the token: Authorization: Bearer ...",
    "websocket": "send the token: Authorization: Bearer ..., the subprotocol earmark.bearer.TOKEN (base64url), or "
    "?ticket=... from POST /v1/stream-ticket",
}
_CLIENT_GONE = 499  # as nginx counts it; nobody receives it

# Closing a socket with unread bytes resets the connection, and many clients send their whole body before they read.
# So the rest of a refused body is read and discarded, after the answer: at most this long, this far, and as long as
# bytes keep coming.
_LINGER_S = 30.0
_LINGER_SILENCE_S = 2.0
_LINGER_BYTES = 1 << 30


class Gate:
    """ASGI middleware around the application.

    Args:
        app: the application.
        access: who may ask.
        lifecycle: counts requests under way and knows whether the server drains.
        metrics: where requests are counted.
    """

    def __init__(self, app: Any, access: Access, lifecycle: Lifecycle, metrics: Metrics) -> None:
        self._app = app
        self._access = access
        self._lifecycle = lifecycle
        self._metrics = metrics

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange = _Exchange(scope, receive, send, self._lifecycle)
        self._lifecycle.in_flight += 1
        try:
            await self._answer(scope, exchange)
        except ClientDisconnect:
            exchange.status = _CLIENT_GONE
        except Exception:  # a defect: the client hears 500, the log has the traceback, the server goes on
            logger.exception("defect", extra={"fields": {"id": exchange.id}})
            if exchange.status is None:
                await exchange.refuse(500, DEFECT)
        finally:
            self._lifecycle.in_flight -= 1
            self._note(scope, exchange)

    async def _answer(self, scope: Any, exchange: _Exchange) -> None:
        path = scope["path"]
        if scope["type"] == "websocket" and not self._access.may_connect(scope):
            await exchange.refuse(403, "pages of this origin may not open streams; see --cors_origins")
        elif path not in _OPEN and not self._access.has_credentials(scope):
            await exchange.refuse(401, _NO_CREDENTIALS[scope["type"]], [(b"www-authenticate", b"Bearer")])
        elif self._lifecycle.draining and path.startswith("/v1/"):
            await exchange.refuse(503, "this server is about to stop", [(b"retry-after", b"1")])
        else:
            # a route of GET answers HEAD, too; the server leaves the body out
            routed = {**scope, "method": "GET"} if exchange.method == "HEAD" else scope
            await self._app(routed, exchange.receive, exchange.send)

    def _note(self, scope: Any, exchange: _Exchange) -> None:
        seconds = time.monotonic() - exchange.started_s
        status = exchange.status or _CLIENT_GONE
        route = scope["path"] if scope["path"] in ROUTES else "other"
        self._metrics.request(route, status, seconds)
        fields = {
            "id": exchange.id,
            "client": scope["client"][0] if scope.get("client") else None,
            "method": exchange.method,
            "route": route,
            "status": status,
            "seconds": round(seconds, 4),
            "bytes": exchange.bytes_read,
            **scope[NOTES],
        }
        level = logging.INFO if status < 500 else logging.WARNING
        logger.log(level if route not in _OPEN else logging.DEBUG, "request", extra={"fields": fields})


class _Exchange:
    """One request and its answer, as they pass."""

    def __init__(self, scope: Any, receive: Receive, send: Send, lifecycle: Lifecycle) -> None:
        self.id = secrets.token_hex(8)
        self.started_s = time.monotonic()
        self.status: int | None = None
        self.bytes_read = 0
        self._path = scope["path"]
        self.method = scope.get("method", "WEBSOCKET")
        if self.method not in _METHODS:
            self.method = "other"
        self._prefix = "websocket.http" if scope["type"] == "websocket" else "http"
        self._headers: list[tuple[bytes, bytes]] = scope["headers"]
        self._receive = receive
        self._send = send
        self._lifecycle = lifecycle
        announced = self.header(b"content-length") not in (b"", b"0") or self.header(b"transfer-encoding") != b""
        self._body_pending = announced
        scope[NOTES] = {}

    def header(self, name: bytes) -> bytes:
        """A request header, empty if there is none."""
        return next((value for key, value in self._headers if key == name), b"")

    async def receive(self) -> Message:
        """The next bytes of the body, counted."""
        message = await self._receive()
        self.bytes_read += len(message.get("body") or message.get("bytes") or b"")
        if not message.get("more_body", False):
            self._body_pending = False
        return message

    async def send(self, message: Message) -> None:
        """Send the answer; if the request's body was not read to its end, close the connection after it."""
        if message["type"] == "websocket.accept":
            self.status = 101
        elif message["type"] == "websocket.close" and self.status is None:  # the router has no such stream
            await self.refuse(404, no_route(self._path))
            return
        elif message["type"] == f"{self._prefix}.response.start":
            headers = [*message["headers"], (b"x-request-id", self.id.encode())]
            if self._body_pending:
                headers.append((b"connection", b"close"))
            self.status = message["status"]
            message = {**message, "headers": headers}
        elif message["type"] == "http.response.body" and self._body_pending and not message.get("more_body", False):
            await self._send({**message, "more_body": True})  # the whole answer; only the connection stays open
            await self._linger()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def refuse(self, status: int, reason: str, headers: list[tuple[bytes, bytes]] | None = None) -> None:
        """Answer with an error."""
        body = json.dumps({"error": reason}).encode()
        fixed = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await self.send(
            {"type": f"{self._prefix}.response.start", "status": status, "headers": fixed + (headers or [])}
        )
        await self.send({"type": f"{self._prefix}.response.body", "body": body})

    async def _linger(self) -> None:
        if self.header(b"expect") and not self.bytes_read:
            return  # the client waits for leave to send; there is nothing to read
        deadline_s = time.monotonic() + _LINGER_S
        most = self.bytes_read + _LINGER_BYTES
        while self._body_pending and self.bytes_read < most and not self._lifecycle.draining:
            left_s = min(_LINGER_SILENCE_S, deadline_s - time.monotonic())
            if left_s <= 0:
                return
            try:
                await asyncio.wait_for(self.receive(), left_s)
            except asyncio.TimeoutError:
                return


def no_route(path: str) -> str:
    """Return the reason of a 404, with the route that was probably meant."""
    near = nearest_name(path, ROUTES - page.PATHS)
    return "no such route. " + (f"Did you mean {near}?" if near else "The routes are in /openapi.json.")
