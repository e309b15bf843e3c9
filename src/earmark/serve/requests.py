"""Check requests before they are handled, and log and count them afterwards."""

from __future__ import annotations

import logging
import time

from earmark.http.gate import Exchange
from earmark.http.lifecycle import Lifecycle
from earmark.http.refusal import Refusal
from earmark.http.scope import NOTES, Scope
from earmark.serve import page
from earmark.serve.access import Access
from earmark.serve.openapi import OPEN_PATHS
from earmark.serve.server_metrics import ServerMetrics
from earmark.text import nearest_name

logger = logging.getLogger(__name__)

_STREAM = "/v1/stream"
_OPEN = OPEN_PATHS | page.PATHS  # the page asks the user for the token
ROUTES = frozenset({"/v1/classify", "/v1/timeline", _STREAM, "/v1/stream-ticket", "/v1/model", "/metrics", *_OPEN})
_METHODS = frozenset({"GET", "POST", "HEAD", "OPTIONS", "WEBSOCKET"})
_NO_CREDENTIALS = {
    "http": "missing or wrong token. Send Authorization: Bearer ...",
    "websocket": "missing or wrong token. Send Authorization: Bearer ..., the subprotocol earmark.bearer.TOKEN "
    "(base64url), or ?ticket=... from POST /v1/stream-ticket",
}


class Requests:
    """Checks and records of requests.

    Args:
        access: rules of access.
        lifecycle: state of the server.
        metrics: counters of requests.
    """

    def __init__(self, access: Access, lifecycle: Lifecycle, metrics: ServerMetrics) -> None:
        self._access = access
        self._lifecycle = lifecycle
        self._metrics = metrics

    def check(self, scope: Scope) -> Refusal | None:
        """Return the reason to refuse a request before it is handled; ``None`` to accept it."""
        path, is_stream = scope["path"], scope["type"] == "websocket"
        if is_stream and not self._access.may_connect(scope):
            return Refusal(403, "pages of this origin may not open streams. Add it to --cors_origins")
        if path not in _OPEN and not self._access.has_credentials(scope):
            return Refusal(401, _NO_CREDENTIALS[scope["type"]], ((b"www-authenticate", b"Bearer"),))
        if self._lifecycle.draining and path.startswith("/v1/"):
            return Refusal(503, "the server is stopping. Try again in a second", ((b"retry-after", b"1"),))
        if is_stream and path != _STREAM:
            return Refusal(404, no_route(path))
        return None

    def record(self, exchange: Exchange) -> None:
        """Count and log a finished request. A method or path that the server does not know is recorded as ``other``."""
        scope, seconds = exchange.scope, time.monotonic() - exchange.started_s
        status = exchange.status or 0
        route = scope["path"] if scope["path"] in ROUTES else "other"
        method = scope.get("method", "WEBSOCKET")
        self._metrics.request(route, status, seconds)
        fields = {
            "id": exchange.id,
            "client": scope["client"][0] if scope.get("client") else None,
            "method": method if method in _METHODS else "other",
            "route": route,
            "status": status,
            "seconds": round(seconds, 4),
            "bytes": exchange.bytes_read,
            **scope[NOTES],
        }
        level = logging.INFO if status < 500 else logging.WARNING
        logger.log(level if route not in _OPEN else logging.DEBUG, "request", extra={"fields": fields})


def no_route(path: str) -> str:
    """Return the message for a 404, with the route that was probably meant."""
    near = nearest_name(path, ROUTES - page.PATHS)
    return "no such route. " + (f"Did you mean {near}?" if near else "See /openapi.json.")
