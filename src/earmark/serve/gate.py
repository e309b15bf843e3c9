"""What every request passes, whatever its route: the token, draining, a log line, figures, a close that is heard."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.requests import ClientDisconnect

from earmark.serve import page
from earmark.serve.lifecycle import Lifecycle
from earmark.serve.metrics import Metrics

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

NOTES = "earmark.notes"  # key of a scope: what the log line of the request shall say
_OPEN = frozenset({"/healthz", "/readyz", "/openapi.json"}) | page.PATHS  # the page itself asks for the token
_ROUTES = frozenset({"/v1/classify", "/v1/timeline", "/v1/stream", "/v1/model", "/metrics", *_OPEN})
_METHODS = frozenset({"GET", "POST", "HEAD", "OPTIONS", "WEBSOCKET"})
DEFECT = "a defect of this server; its log has more"
_CLIENT_GONE = 499  # as nginx counts it; nobody receives it

# A client that is refused in mid-body hears why only if what it has sent is read: closing a socket with unread bytes
# resets the connection. So much is read and thrown away.
_LINGER_S = 1.0
_LINGER_BYTES = 8 << 20


class Gate:
    """ASGI middleware around the application.

    Args:
        app: the application.
        token: what clients must send; ``None`` for no token.
        lifecycle: counts requests under way and knows whether the server drains.
        metrics: where requests are counted.
    """

    def __init__(self, app: Any, token: str | None, lifecycle: Lifecycle, metrics: Metrics) -> None:
        self._app = app
        self._token = token.encode() if token is not None else None
        self._lifecycle = lifecycle
        self._metrics = metrics

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange = _Exchange(scope, receive, send)
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
        if path not in _OPEN and not self._is_allowed(exchange):
            await exchange.refuse(401, "send the token: Authorization: Bearer ...", [(b"www-authenticate", b"Bearer")])
        elif self._lifecycle.draining and path.startswith("/v1/"):
            await exchange.refuse(503, "this server is about to stop", [(b"retry-after", b"1")])
        else:
            await self._app(scope, exchange.receive, exchange.send)

    def _is_allowed(self, exchange: _Exchange) -> bool:
        if self._token is None:
            return True
        scheme, _, given = exchange.header(b"authorization").partition(b" ")
        return hmac.compare_digest(given.strip(), self._token) and scheme.lower() == b"bearer"

    def _note(self, scope: Any, exchange: _Exchange) -> None:
        seconds = time.monotonic() - exchange.started_s
        status = exchange.status or _CLIENT_GONE
        route = scope["path"] if scope["path"] in _ROUTES else "other"
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

    def __init__(self, scope: Any, receive: Receive, send: Send) -> None:
        self.id = secrets.token_hex(8)
        self.started_s = time.monotonic()
        self.status: int | None = None
        self.bytes_read = 0
        self.method = scope.get("method", "WEBSOCKET")
        if self.method not in _METHODS:
            self.method = "other"
        self._prefix = "websocket.http" if scope["type"] == "websocket" else "http"
        self._headers: list[tuple[bytes, bytes]] = scope["headers"]
        self._receive = receive
        self._send = send
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
        """The answer; where the body was not read to its end, the connection is closed after it."""
        if message["type"] == "websocket.accept":
            self.status = 101
        elif message["type"] == f"{self._prefix}.response.start":
            headers = [*message["headers"], (b"x-request-id", self.id.encode())]
            if self._body_pending:
                headers.append((b"connection", b"close"))
                await self._linger()
            self.status = message["status"]
            message = {**message, "headers": headers}
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
        while self._body_pending and self.bytes_read < most and (left_s := deadline_s - time.monotonic()) > 0:
            try:
                await asyncio.wait_for(self.receive(), left_s)
            except asyncio.TimeoutError:
                return
