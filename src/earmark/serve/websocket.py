"""uvicorn's WebSocket protocol with error messages for large messages and invalid handshakes."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request

from earmark.http.refusal import Refusal

MAX_MESSAGE_BYTES = 1 << 20
# After an error, bytes are discarded until the client has been silent for _LINGER_SILENCE_S, at most for _LINGER_S.
_LINGER_SILENCE_S = 0.5
_LINGER_S = 30.0


class StreamProtocol(WebSocketsSansIOProtocol):
    """WebSocket protocol of one connection.

    If a client is still sending when the socket is closed, its connection is reset and it never reads the error. So
    after an error, the server discards data, and closes the socket only when no more data arrives.
    """

    _failed_s: float | None = None  # time of the error, by the clock of the event loop
    read_paused: bool
    close_timer: asyncio.TimerHandle | None = None  # while it runs, uvicorn does not close the socket

    def data_received(self, data: bytes) -> None:
        """Process bytes, or discard them if the connection has failed."""
        if self._failed_s is None:
            super().data_received(data)
        else:
            self._linger(self._failed_s)

    def handle_connect(self, event: Request) -> None:
        """Refuse an invalid handshake with JSON, like every other error."""
        response = self.conn.accept(event)
        if response.status_code != 101:
            self.handshake_initiated = self.handshake_complete = self.close_sent = True
            refusal = Refusal(response.status_code, _one_line(bytes(response.body or b"")))
            response.body = refusal.body
            for name, value in refusal.headers:
                response.headers.pop(name.decode(), None)
                response.headers[name.decode()] = value.decode()
            self.conn.send_response(response)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()
            return
        super().handle_connect(event)

    async def send(self, message: Any) -> None:
        """Send a message of the application. A complete refusal ends the handshake.

        If it did not, uvicorn would log an error and respond a second time.
        """
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True

    def handle_parser_exception(self) -> None:
        """Close with the code and reason of the error, and keep reading until the client has received them."""
        close: Any = self.conn.close_sent
        self.queue.put_nowait({"type": "websocket.disconnect", "code": close.code, "reason": close.reason})
        if close.code == CloseCode.MESSAGE_TOO_BIG:
            reason = f"the message is larger than {MAX_MESSAGE_BYTES} bytes. Send smaller ones"
            self.transport.write(Frame(Opcode.TEXT, Refusal(413, reason).body).serialize(mask=False))
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self._failed_s = self.loop.time()
        self._linger(self._failed_s)
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    def _linger(self, failed_s: float) -> None:
        """Wait for more bytes before closing the socket."""
        if self.close_timer is not None:
            self.close_timer.cancel()
        wait_s = min(_LINGER_SILENCE_S, max(0.0, failed_s + _LINGER_S - self.loop.time()))
        self.close_timer = self.loop.call_later(wait_s, self.transport.close)


def _one_line(body: bytes) -> str:
    lines = body.decode("utf-8", "replace").split("\n")
    return lines[0].strip().rstrip(".")
