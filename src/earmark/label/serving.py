"""The page's server: how it starts and ends. Needs the extra ``serve``."""

from __future__ import annotations

import logging
import secrets
import socket

import uvicorn

from earmark.label.app import build_app
from earmark.label.session import Session
from earmark.serve.lifecycle import DrainingServer, Lifecycle
from earmark.serve.protocol import guarded_protocol

logger = logging.getLogger(__name__)

_DRAIN_S = 5.0
_HEADER_TIMEOUT_S = 10.0
_MOST_CONNECTIONS = 64


def serve(session: Session, listener: socket.socket) -> None:
    """Answer the page at a socket that listens, until SIGINT or SIGTERM."""
    token = secrets.token_urlsafe(24)
    server = server_of(session, token, Lifecycle(_DRAIN_S))
    # behind the #, where no server and no log sees it
    logger.info("open    http://127.0.0.1:%d/#%s", listener.getsockname()[1], token)
    logger.info("stop    Ctrl-C. All labels are saved; run the same command again to continue")
    server.run(sockets=[listener])


def server_of(session: Session, token: str, lifecycle: Lifecycle) -> DrainingServer:
    """A server that has yet to run."""
    config = uvicorn.Config(
        build_app(session, token, lifecycle),
        http=guarded_protocol(_HEADER_TIMEOUT_S, _MOST_CONNECTIONS),
        ws="none",
        loop="auto",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )
    return DrainingServer(config, lifecycle)
