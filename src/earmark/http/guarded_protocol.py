"""HTTP/1.1 with limits against hostile clients: a timeout for request headers and a maximum number of connections.

uvicorn waits forever for the headers of a request. This protocol closes a connection, new or kept alive, that does
not send complete headers in time. It also returns uvicorn's own errors as JSON.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from earmark.http.refusal import Refusal


def guarded_protocol(header_timeout_s: float, max_connections: int) -> Callable[..., H11Protocol]:
    """Return a factory that creates the protocol of a connection."""

    def make(*args: object, **kwargs: object) -> H11Protocol:
        protocol = GuardedProtocol(*args, **kwargs)
        protocol.header_timeout_s = header_timeout_s
        protocol.max_connections = max_connections
        return protocol

    return make


class GuardedProtocol(H11Protocol):
    """HTTP protocol of one connection.

    Attributes:
        header_timeout_s: time limit for the headers of a request, in seconds.
        max_connections: number of open connections after which the server refuses new ones.
    """

    header_timeout_s: float
    max_connections: int
    _header_timer: asyncio.TimerHandle | None = None
    _is_websocket = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept a connection unless there are too many."""
        super().connection_made(_JoinedWrites(transport, self.loop))
        if len(self.connections) > self.max_connections:
            self._refuse(Refusal(503, "too many connections. Try again in a second.", ((b"retry-after", b"1"),)))
        else:
            self._start_timer()

    def data_received(self, data: bytes) -> None:
        """Process received bytes, and stop the timer once the headers are complete."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._is_websocket:
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_timer()
        elif self._header_timer is None:
            self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer of a closed connection."""
        self._stop_timer()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand the connection over to the WebSocket protocol."""
        self._is_websocket = True
        self._stop_timer()
        super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that is not HTTP or has too large headers. Called while h11's error is handled."""
        if getattr(sys.exc_info()[1], "error_status_hint", 400) == 431:
            reason = "the request headers are too large. Send a shorter URL and fewer headers."
            self._refuse(Refusal(431, reason))
        else:
            self._refuse(Refusal(400, "not an HTTP request. Send HTTP/1.1."))

    def _start_timer(self) -> None:
        self._header_timer = self.loop.call_later(self.header_timeout_s, self._too_late)

    def _stop_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _too_late(self) -> None:
        self._header_timer = None
        if not self.transport.is_closing():
            self._refuse(Refusal(408, f"incomplete request headers after {self.header_timeout_s:g} s. Send faster."))

    def _refuse(self, refusal: Refusal) -> None:
        """Send an error without calling the application, and close the connection."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            head = h11.Response(status_code=refusal.status, headers=[*refusal.headers, (b"connection", b"close")])
            for event in (head, h11.Data(data=refusal.body)):
                self.transport.write(self.conn.send(event))
        self.transport.close()


class _JoinedWrites:
    """Transport that sends what is written in one step of the event loop at once: headers and body in one packet.

    Args:
        transport: transport of the connection; it has all other methods.
        loop: its event loop.
    """

    def __init__(self, transport: asyncio.BaseTransport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport: Any = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send bytes at the end of this step."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        """Send what was written, and close the connection."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        data = b"".join(self._parts)
        self._parts.clear()
        if data:
            self._transport.write(data)
