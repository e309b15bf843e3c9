"""Access to the server: the bearer token, tickets for streams, and allowed origins of pages.

A browser cannot set headers on a WebSocket, so a stream accepts credentials in two other ways:

- the subprotocol ``earmark.bearer.TOKEN``, with the token in base64url, next to the subprotocol ``earmark``;
- ``?ticket=TICKET``, from ``POST /v1/stream-ticket``. A ticket opens one stream and expires soon, so it is harmless in
  a proxy's log. The token itself is never accepted in a query.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from fastapi import HTTPException

from earmark.http.origins import is_own_page
from earmark.http.scope import Scope, header
from earmark.serve.read_body import busy

SUBPROTOCOL = "earmark"
_BEARER = "earmark.bearer."
TICKET_LIFETIME_S = 30.0
_MOST_TICKETS = 1_000


@dataclass
class Tickets:
    """Tickets that were issued but not used yet.

    Attributes:
        lifetime_s: how long a ticket is valid, in seconds.
    """

    lifetime_s: float = TICKET_LIFETIME_S
    _expiry_s: dict[str, float] = field(default_factory=dict, init=False)

    def issue(self) -> str:
        """Return a new ticket.

        Raises:
            HTTPException: 429, there are too many unused tickets.
        """
        now_s = time.monotonic()
        for expired in [ticket for ticket, expiry_s in self._expiry_s.items() if expiry_s <= now_s]:
            del self._expiry_s[expired]
        if len(self._expiry_s) >= _MOST_TICKETS:
            raise busy(f"{_MOST_TICKETS} tickets are unused")
        ticket = secrets.token_urlsafe(24)
        self._expiry_s[ticket] = now_s + self.lifetime_s
        return ticket

    def use(self, ticket: str) -> bool:
        """Use up a ticket. Return whether it was valid."""
        return self._expiry_s.pop(ticket, 0.0) > time.monotonic()


class Access:
    """Rules of access.

    Args:
        token: token that clients must send; ``None`` for no token.
        origins: additional origins of pages that may use the server.

    Attributes:
        tickets: tickets for streams.
    """

    def __init__(self, token: str | None, origins: Sequence[str]) -> None:
        self._token = token.encode() if token is not None else None
        self._origins = frozenset(origins)
        self.tickets = Tickets()

    def may_connect(self, scope: Scope) -> bool:
        """Return whether a handshake comes from a page that may open streams, or not from a page.

        Browsers send a WebSocket handshake for any page; the server has to decide.
        """
        return "*" in self._origins or header(scope, b"origin") in self._origins or is_own_page(scope)

    def has_credentials(self, scope: Scope) -> bool:
        """Return whether a request has the token or, for a stream, a valid ticket, which is then used up."""
        if self._token is None:
            return True
        scheme, _, given = (header(scope, b"authorization") or "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(given.strip().encode("latin-1")):
            return True
        if scope["type"] != "websocket":
            return False
        offered = scope.get("subprotocols") or ()
        if any(self._is_token(_decoded(name)) for name in offered if name.startswith(_BEARER)):
            return True
        tickets = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("ticket", [])
        return len(tickets) == 1 and self.tickets.use(tickets[0])

    @staticmethod
    def refuse_lone_token(scope: Scope) -> None:
        """Refuse a stream whose token is the only offered subprotocol.

        The server accepts the subprotocol ``earmark``. A browser closes a stream if the server accepts none of its
        offers.

        Raises:
            HTTPException: 400.
        """
        offered = scope.get("subprotocols") or ()
        if SUBPROTOCOL not in offered and any(name.startswith(_BEARER) for name in offered):
            raise HTTPException(400, f"the token is the only subprotocol. Offer {SUBPROTOCOL} and {_BEARER}TOKEN")

    def _is_token(self, given: bytes) -> bool:
        return self._token is not None and hmac.compare_digest(given, self._token)


def _decoded(subprotocol: str) -> bytes:
    text = subprotocol.removeprefix(_BEARER)
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return b""
