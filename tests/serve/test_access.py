"""Tokens, tickets and origins: rules that need no server."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest

from earmark.errors import UsageError
from earmark.http.origins import check_origins
from earmark.serve.access import Access, Tickets
from earmark.serve.page import check_frame_ancestors

TOKEN = "a/token+with=signs~and-letters"


def handshake(query: str = "", subprotocols: tuple[str, ...] = (), **headers: str) -> dict[str, Any]:
    return {
        "type": "websocket",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "query_string": query.encode(),
        "subprotocols": list(subprotocols),
    }


def bearer(token: str) -> str:
    return "earmark.bearer." + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


def test_a_ticket_opens_one_stream_soon() -> None:
    access = Access(TOKEN, [])
    ticket = access.tickets.issue()
    assert not access.has_credentials(handshake())
    assert not access.has_credentials(handshake(f"ticket={ticket[:-1]}"))
    assert not access.has_credentials({**handshake(f"ticket={ticket}"), "type": "http"})  # nothing but a stream
    assert access.has_credentials(handshake(f"sampling_rate=8000&ticket={ticket}"))
    assert not access.has_credentials(handshake(f"ticket={ticket}"))
    for wrong in (f"ticket={TOKEN}", f"token={TOKEN}", f"access_token={TOKEN}", "ticket=", "ticket"):
        assert not access.has_credentials(handshake(wrong))
    late = Tickets(lifetime_s=0.0)
    ticket = late.issue()
    time.sleep(0.001)
    assert not late.use(ticket)


def test_unused_tickets_do_not_pile_up() -> None:
    from fastapi import HTTPException

    tickets = Tickets(lifetime_s=1000.0)
    made = {tickets.issue() for _ in range(1000)}
    assert len(made) == 1000
    with pytest.raises(HTTPException) as refused:
        tickets.issue()
    assert refused.value.status_code == 429
    assert tickets.use(made.pop())
    assert tickets.issue()
    tickets.lifetime_s = 0.0
    for _ in range(5):
        tickets = Tickets(lifetime_s=0.0)
    for _ in range(2000):
        tickets.issue()  # those before it have expired


def test_a_token_comes_as_a_header_or_as_a_subprotocol() -> None:
    access = Access(TOKEN, [])
    assert access.has_credentials(handshake(authorization=f"bearer {TOKEN}"))
    assert access.has_credentials(handshake(subprotocols=("earmark", bearer(TOKEN))))
    for wrong in (bearer(TOKEN[:-1]), f"earmark.bearer.{TOKEN}", "earmark.bearer.", "earmark.bearer.é", TOKEN):
        assert not access.has_credentials(handshake(subprotocols=("earmark", wrong)))
    http = {**handshake(subprotocols=("earmark", bearer(TOKEN))), "type": "http"}
    assert not access.has_credentials(http)
    assert Access(None, []).has_credentials(handshake())


def test_pages_of_other_sites_need_leave() -> None:
    none, some, every = (Access(None, check_origins(names)) for names in ([], ["https://A.example:443/"], ["*"]))
    for origin, host, others in (
        ("https://a.example", "127.0.0.1:8000", (False, True, True)),
        ("https://b.example", "127.0.0.1:8000", (False, False, True)),
        ("http://a.example", "127.0.0.1:8000", (False, False, True)),
        ("null", "127.0.0.1:8000", (False, False, True)),
        ("http://127.0.0.1:8001", "127.0.0.1:8000", (False, False, True)),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", (True, True, True)),
        ("https://own.example", "own.example", (True, True, True)),  # behind a proxy with TLS
        ("https://own.example", "own.example:443", (True, True, True)),
        ("http://[::1]:8000", "[::1]:8000", (True, True, True)),
        ("http://own.example:x", "own.example", (False, False, True)),
    ):
        scope = handshake(origin=origin, host=host)
        assert tuple(access.may_connect(scope) for access in (none, some, every)) == others, origin
    assert none.may_connect(handshake(host="127.0.0.1:8000"))  # no browser
    assert Access(None, ["null"]).may_connect(handshake(origin="null", host="a"))


def test_frame_ancestors_are_spelled_as_policies_do() -> None:
    good = ["self", "https://a.example/", "https://*.a.example", "https:", "a.example:*", "*"]
    assert check_frame_ancestors(good) == ["'self'", *(name.rstrip("/") for name in good[1:])]
    for wrong in ("a b", "a;b", "a,b", "'unsafe-inline'", "https://a/x", "data:", "a\nb", ""):
        with pytest.raises(UsageError, match="not a source"):
            check_frame_ancestors([wrong])
