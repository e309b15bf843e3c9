"""Graceful shutdown: a signal lets requests in flight finish and refuses new ones."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from types import FrameType

import uvicorn

from earmark.http.guarded_protocol import guarded_protocol

logger = logging.getLogger(__name__)


@dataclass
class Lifecycle:
    """State of a server: whether it accepts requests, and how many are in flight.

    Attributes:
        drain_timeout_s: time limit for requests in flight after a signal, in seconds.
        in_flight: number of requests in flight.
    """

    drain_timeout_s: float
    in_flight: int = 0
    _drain_until_s: float | None = field(default=None, init=False)

    @property
    def draining(self) -> bool:
        """Whether a signal has arrived."""
        return self._drain_until_s is not None

    def drain(self) -> None:
        """Refuse new requests from now on."""
        self._drain_until_s = time.monotonic() + self.drain_timeout_s

    @property
    def over(self) -> bool:
        """Whether the server can stop: no request is in flight, or the time limit has passed."""
        if self._drain_until_s is None:
            return False
        return self.in_flight == 0 or time.monotonic() > self._drain_until_s


class DrainingServer(uvicorn.Server):
    """uvicorn server that, after SIGTERM or SIGINT, keeps listening until the last request is finished.

    Meanwhile new requests get status 503 instead of a refused connection. A second signal stops it at once.
    """

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start draining. Unlike uvicorn, do not raise the signal again at the end, so the exit code is 0."""
        if self._lifecycle.draining:
            self.should_exit = self.force_exit = True
        else:
            self._lifecycle.drain()

    async def on_tick(self, counter: int) -> bool:
        """Return whether the server should stop. uvicorn calls this ten times a second."""
        if self._lifecycle.over:
            if self._lifecycle.in_flight:
                logger.warning("drain timeout", extra={"fields": {"unanswered": self._lifecycle.in_flight}})
            return True
        return await super().on_tick(counter)


def make_server(
    app: object,
    lifecycle: Lifecycle,
    *,
    header_timeout_s: float,
    max_connections: int,
    last_bytes_s: int,
    **settings: object,
) -> DrainingServer:
    """Return a server that is not running yet.

    Args:
        app: ASGI application.
        lifecycle: decides when the server ends.
        header_timeout_s: time limit for the headers of a request, in seconds.
        max_connections: number of open connections after which the server refuses new ones.
        last_bytes_s: how long to wait for clients to receive finished responses at shutdown, in seconds.
        settings: more arguments of ``uvicorn.Config``.
    """
    config = uvicorn.Config(
        app,
        http=guarded_protocol(header_timeout_s, max_connections),
        loop="auto",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # a client can put any address into these headers
        timeout_graceful_shutdown=last_bytes_s,
        **settings,
    )
    return DrainingServer(config, lifecycle)
