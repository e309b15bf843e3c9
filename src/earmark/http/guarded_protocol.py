"""HTTP/1.1 as uvicorn speaks it, for clients that mean harm: headers must come in time, connections are counted.

uvicorn waits for the headers of a request for ever. Here a connection that has not sent a whole request head in time
is closed, whether it is new or kept alive; and what uvicorn says by itself is JSON too.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from earmark.http.refusal import Refusal


def guarded_protocol(header_timeout_s: float, max_connections: int) -> Callable[..., H11Protocol]:
    """What makes a protocol for each connection."""

    def make(*args: object, **kwargs: object) -> H11Protocol:
        protocol = GuardedProtocol(*args, **kwargs)
        protocol.header_timeout_s = header_timeout_s
        protocol.max_connections = max_connections
        return protocol

    return make


class GuardedProtocol(H11Protocol):
    """One connection.

    Attributes:
        header_timeout_s: how long the head of a request may take, in seconds.
        max_connections: open connections of this server; the next one is refused.
    """

    header_timeout_s: float
    max_connections: int
    _header_timer: asyncio.TimerHandle | None = None
    _is_websocket = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection, if there is room for it."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self._refuse(Refusal(503, "too many connections; try again in a second", ((b"retry-after", b"1"),)))
        else:
            self._start_timer()

    def data_received(self, data: bytes) -> None:
        """Take bytes, and see whether a request head is whole."""
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
        """The connection has gone."""
        self._stop_timer()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """From here on another protocol has the connection."""
        self._is_websocket = True
        self._stop_timer()
        super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, or has a head that is too large. uvicorn calls this while it handles h11's error."""
        if getattr(sys.exc_info()[1], "error_status_hint", 400) == 431:
            reason = "the head of the request is too large: send a shorter address and fewer headers"
            self._refuse(Refusal(431, reason))
        else:
            self._refuse(Refusal(400, "this is not an HTTP request"))

    def _start_timer(self) -> None:
        self._header_timer = self.loop.call_later(self.header_timeout_s, self._too_late)

    def _stop_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _too_late(self) -> None:
        self._header_timer = None
        if not self.transport.is_closing():
            self._refuse(Refusal(408, f"no whole request head within {self.header_timeout_s:g} s"))

    def _refuse(self, refusal: Refusal) -> None:
        """Answer without asking the application, and close."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            head = h11.Response(status_code=refusal.status, headers=[*refusal.headers, (b"connection", b"close")])
            for event in (head, h11.Data(data=refusal.body)):
                self.transport.write(self.conn.send(event))
        self.transport.close()
