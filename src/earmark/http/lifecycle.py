"""From the first request to the last: a signal lets requests under way finish and turns new ones away."""

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
    """Whether this server still takes requests, and how many are under way.

    Attributes:
        drain_timeout_s: how long requests under way may take once it is draining, in seconds.
        in_flight: requests under way.
    """

    drain_timeout_s: float
    in_flight: int = 0
    _drain_until_s: float | None = field(default=None, init=False)

    @property
    def draining(self) -> bool:
        """Whether a signal has come."""
        return self._drain_until_s is not None

    def drain(self) -> None:
        """Take no more requests."""
        self._drain_until_s = time.monotonic() + self.drain_timeout_s

    @property
    def over(self) -> bool:
        """Whether nothing is left to wait for."""
        if self._drain_until_s is None:
            return False
        return self.in_flight == 0 or time.monotonic() > self._drain_until_s


class DrainingServer(uvicorn.Server):
    """uvicorn's server, which on SIGTERM and SIGINT goes on listening until the last request is answered.

    A client that comes meanwhile hears 503 rather than nothing. A second signal ends it at once.
    """

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain. The signal is not raised again at the end, as uvicorn would, so the exit code is 0."""
        if self._lifecycle.draining:
            self.should_exit = self.force_exit = True
        else:
            self._lifecycle.drain()

    async def on_tick(self, counter: int) -> bool:
        """Return whether it is time to go; asked ten times a second."""
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
    """Return a server that has yet to run.

    Args:
        app: ASGI application.
        lifecycle: decides when the server ends.
        header_timeout_s: how long the head of a request may take, in seconds.
        max_connections: open connections; the next one is refused.
        last_bytes_s: how long answers that are written may wait for their clients at the end, in seconds.
        settings: others of ``uvicorn.Config``.
    """
    config = uvicorn.Config(
        app,
        http=guarded_protocol(header_timeout_s, max_connections),
        loop="auto",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # whoever asks could claim any address in them
        timeout_graceful_shutdown=last_bytes_s,
        **settings,
    )
    return DrainingServer(config, lifecycle)
