"""Which requests come from this machine, and from the server's own page."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs earmark[serve]")

from earmark.errors import UsageError
from earmark.http.origins import check_origins, is_loopback, is_own_page, targets_loopback


def request(**headers: str) -> dict[str, Any]:
    return {"type": "http", "headers": [(name.encode(), value.encode()) for name, value in headers.items()]}


def test_only_addresses_of_this_machine_are_loopback() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.8.0.1", "::1")))
    assert not any(map(is_loopback, ("", "0.0.0.0", "::", "192.168.0.1", "localhost.example", "127.0.0.1.example")))
    for host in ("localhost:9999", "127.0.0.1", "[::1]:8000"):
        assert targets_loopback(request(host=host))
    for host in ("", "[", "0.0.0.0", "evil.example:8000", "127.0.0.1.evil.example", "user@evil.example"):
        assert not targets_loopback(request(host=host))
    assert not targets_loopback(request())


def test_a_page_is_the_server_s_own_if_host_and_port_are() -> None:
    for origin, host in (
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("http://[::1]:8000", "[::1]:8000"),
        ("https://own.example", "own.example"),  # behind a proxy with TLS
        ("https://own.example", "own.example:443"),
    ):
        assert is_own_page(request(origin=origin, host=host)), origin
    for origin, host in (
        ("http://127.0.0.1:8001", "127.0.0.1:8000"),
        ("https://evil.example", "127.0.0.1:8000"),
        ("null", "127.0.0.1:8000"),
        ("null", ""),
        ("http://own.example:x", "own.example"),
    ):
        assert not is_own_page(request(origin=origin, host=host)), origin
    assert is_own_page(request(host="127.0.0.1:8000")), "no page asks"


def test_origins_are_spelled_as_browsers_do() -> None:
    assert check_origins(["https://a.example/", "HTTP://A.example:80", "http://a:8080", "*", "null"]) == [
        "https://a.example", "http://a.example", "http://a:8080", "*", "null",
    ]  # fmt: skip
    for wrong in (
        "a.example",
        "https://a.example/x",
        "https://*.a.example/?",
        "ftp://a",
        "https://",
        "https://a b",
        "",
    ):
        with pytest.raises(UsageError, match="not an origin"):
            check_origins([wrong])
