"""Middleware for every request: check it, count it, make sure the response arrives, and log it."""

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

_CLIENT_GONE = 499  # nginx's code for a client that disconnected; never sent

# Closing a socket with unread bytes resets the connection, and many clients send the whole body before they read the
# response. So after refusing a request, the server reads and discards the rest of its body, up to these limits.
_LINGER_S = 30.0
_LINGER_SILENCE_S = 2.0
_LINGER_BYTES = 1 << 30


@dataclass(frozen=True)
class Gate:
    """ASGI middleware that checks, counts and records requests.

    Attributes:
        app: ASGI application.
        lifecycle: counts requests in flight.
        check: returns the reason to refuse a request; ``None`` to accept it.
        record: called with each request after its response.
        headers: headers to add to every response.
    """

    app: Any
    lifecycle: Lifecycle
    check: Callable[[Scope], Refusal | None]
    record: Callable[[Exchange], None] = lambda exchange: None
    headers: Sequence[Header] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        exchange = Exchange(scope, receive, send, self.lifecycle, self.headers)
        self.lifecycle.in_flight += 1
        try:
            await self._answer(exchange)
        except ClientDisconnect:
            exchange.status = _CLIENT_GONE
        except Exception:  # a bug: the client gets 500 and the log gets the traceback
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
        # GET routes also handle HEAD; the server drops the body
        routed = {**exchange.scope, "method": "GET"} if exchange.scope.get("method") == "HEAD" else exchange.scope
        await self.app(routed, exchange.receive, exchange.send)


class Exchange:
    """One request and its response.

    Attributes:
        scope: ASGI scope of the request. Handlers add fields for the log to its notes (:data:`NOTES`).
        id: ID of the request, sent back in a response header.
        started_s: start time, by :func:`time.monotonic`.
        status: HTTP status of the response; ``None`` before it is sent.
        bytes_read: bytes of the request's body read so far.
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
        """Return the next part of the body and count its bytes."""
        message = await self._receive()
        self.bytes_read += len(message.get("body") or message.get("bytes") or b"")
        if not message.get("more_body", False):
            self._body_pending = False
        return message

    async def send(self, message: Message) -> None:
        """Send the response. If the request's body was not read to the end, close the connection afterwards."""
        if message["type"] == "websocket.accept":
            self.status = 101
        elif message["type"] == f"{self._prefix}.response.start":
            headers = [*message["headers"], *self._added_headers]
            if self._body_pending:
                headers.append((b"connection", b"close"))
            self.status = message["status"]
            message = {**message, "headers": headers}
        elif message["type"] == "http.response.body" and self._body_pending and not message.get("more_body", False):
            await self._send({**message, "more_body": True})  # sends the response but keeps the connection open
            await self._linger()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        """Refuse the request without calling the application."""
        start = {"type": f"{self._prefix}.response.start", "status": refusal.status, "headers": refusal.headers}
        await self.send(start)
        await self.send({"type": f"{self._prefix}.response.body", "body": refusal.body})

    async def _linger(self) -> None:
        if header(self.scope, b"expect") and not self.bytes_read:
            return  # the client waits for "100 Continue" and sends no body
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
