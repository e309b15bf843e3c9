"""The socket that a server listens at."""

from __future__ import annotations

import socket

from earmark.errors import UsageError
from earmark.io.os_errors import os_errors_as


def bind(host: str, port: int, flags: str) -> socket.socket:
    """Return a socket bound to an address; clients are refused until :func:`listen`.

    Args:
        host: name or address.
        port: its port; 0 takes a free one.
        flags: the flags that gave them, for the error message.

    Raises:
        UsageError: there is no such address here, or it is taken.
    """
    with os_errors_as(UsageError, f"{flags}: cannot listen there"):
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        # with the protocol: asyncio sets TCP_NODELAY only where it is named, and without that each answer takes 40 ms
        listener = socket.socket(family, kind, protocol)
        try:
            # on Windows SO_REUSEADDR would let a second server take the port of the first
            exclusive = getattr(socket, "SO_EXCLUSIVEADDRUSE", None)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR if exclusive is None else exclusive, 1)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
    return listener


def listen(listener: socket.socket, flags: str) -> None:
    """Take connections from here on.

    Raises:
        UsageError: another process began to listen at the address first.
    """
    with os_errors_as(UsageError, f"{flags}: cannot listen there"):
        listener.listen()


def page_address(host: str, port: int) -> str:
    """Return the address of the page for a browser on this machine.

    Args:
        host: address that the server listens at; one that means all addresses becomes loopback.
        port: the port.
    """
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
