"""Start and stop the server of the page. Needs the extra ``serve``."""

from __future__ import annotations

import logging
import secrets
import socket

from earmark.http.lifecycle import DrainingServer, Lifecycle, make_server
from earmark.http.listen import page_address
from earmark.label.label_app import build_app
from earmark.label.session import Session

logger = logging.getLogger(__name__)

_DRAIN_S = 5.0
_HEADER_TIMEOUT_S = 10.0
_MOST_CONNECTIONS = 64


def serve(session: Session, listener: socket.socket) -> None:
    """Serve the page on a listening socket until SIGINT or SIGTERM."""
    token = secrets.token_urlsafe(24)
    server = label_server(session, token, Lifecycle(_DRAIN_S))
    # The token comes after the #, because browsers do not send that part to servers, which may log it.
    logger.info("open    %s#%s", page_address(*listener.getsockname()[:2]), token)
    logger.info("stop    Ctrl-C. All labels are saved; run the same command again to continue")
    server.run(sockets=[listener])


def label_server(session: Session, token: str, lifecycle: Lifecycle) -> DrainingServer:
    """Return a server that is not running yet."""
    return make_server(
        build_app(session, token, lifecycle),
        lifecycle,
        header_timeout_s=_HEADER_TIMEOUT_S,
        max_connections=_MOST_CONNECTIONS,
        last_bytes_s=1,
        ws="none",
    )
