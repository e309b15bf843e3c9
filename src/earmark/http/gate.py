"""What every request passes: checks, a count of those under way, an answer that arrives, and a record of it."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect

from earmark.http.lifecycle import Lifecycle
from earmark.http.refusal import DEFECT, Refusal
from earmark.http.scope import NOTES, Header, Scope, header

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_CLIENT_GONE = 499  # as nginx counts it; nobody receives it

# Closing a socket with unread bytes resets the connection, and many clients send their whole body before they read.
# So the rest of a refused body is read and discarded, after the answer: at most this long, this far, and as long as
# bytes keep coming.
_LINGER_S = 30.0
_LINGER_SILENCE_S = 2.0
_LINGER_BYTES = 1 << 30


@dataclass(frozen=True)
class Gate:
    """ASGI middleware around an application.

    Attributes:
        app: the application.
        lifecycle: counts requests under way.
        check: returns why a request does not reach the application; ``None`` if it does.
        record: is given each request when it has been answered.
        headers: added to every answer.
    """

    app: Any
    lifecycle: Lifecycle
    check: Callable[[Scope], Refusal | None]
    record: Callable[[Exchange], None] = lambda exchange: None
    headers: Sequence[Header] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange = Exchange(scope, receive, send, self.lifecycle, self.headers)
        self.lifecycle.in_flight += 1
        try:
            await self._answer(exchange)
        except ClientDisconnect:
            exchange.status = _CLIENT_GONE
        except Exception:  # a defect: the client gets 500, the log has the traceback, the server continues
            logger.exception("defect", extra={"fields": {"id": exchange.id}})
            if exchange.status is None:
                await exchange.refuse(Refusal(500, DEFECT))
        finally:
            self.lifecycle.in_flight -= 1
            exchange.status = exchange.status or _CLIENT_GONE
            self.record(exchange)

    async def _answer(self, exchange: Exchange) -> None:
        refusal = self.check(exchange.scope)
        if refusal is not None:
            await exchange.refuse(refusal)
            return
        # a route of GET answers HEAD, too; the server leaves the body out
        routed = {**exchange.scope, "method": "GET"} if exchange.scope.get("method") == "HEAD" else exchange.scope
        await self.app(routed, exchange.receive, exchange.send)


class Exchange:
    """One request and its answer, as they pass.

    Attributes:
        scope: ASGI scope of the request; handlers add to its notes (:data:`NOTES`) what the log shall say.
        id: the request's number, which its answer has as a header.
        started_s: when it began, by :func:`time.monotonic`.
        status: of the answer; ``None`` before it.
        bytes_read: of the request's body.
    """

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, lifecycle: Lifecycle, headers: Sequence[Header]
    ) -> None:
        self.scope = scope
        self.id = secrets.token_hex(8)
        self.started_s = time.monotonic()
        self.status: int | None = None
        self.bytes_read = 0
        self._added_headers = [*headers, (b"x-request-id", self.id.encode())]
        self._prefix = "websocket.http" if scope["type"] == "websocket" else "http"
        self._receive = receive
        self._send = send
        self._lifecycle = lifecycle
        announced = header(scope, b"content-length") not in (None, "", "0")
        self._body_pending = announced or bool(header(scope, b"transfer-encoding"))
        scope[NOTES] = {}

    async def receive(self) -> Message:
        """Return the next bytes of the body, counted."""
        message = await self._receive()
        self.bytes_read += len(message.get("body") or message.get("bytes") or b"")
        if not message.get("more_body", False):
            self._body_pending = False
        return message

    async def send(self, message: Message) -> None:
        """Send the answer; if the request's body was not read to its end, close the connection after it."""
        if message["type"] == "websocket.accept":
            self.status = 101
        elif message["type"] == f"{self._prefix}.response.start":
            headers = [*message["headers"], *self._added_headers]
            if self._body_pending:
                headers.append((b"connection", b"close"))
            self.status = message["status"]
            message = {**message, "headers": headers}
        elif message["type"] == "http.response.body" and self._body_pending and not message.get("more_body", False):
            await self._send({**message, "more_body": True})  # the whole answer; only the connection stays open
            await self._linger()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        """Answer without the application."""
        start = {"type": f"{self._prefix}.response.start", "status": refusal.status, "headers": refusal.headers}
        await self.send(start)
        await self.send({"type": f"{self._prefix}.response.body", "body": refusal.body})

    async def _linger(self) -> None:
        if header(self.scope, b"expect") and not self.bytes_read:
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
