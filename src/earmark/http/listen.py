"""The socket that a server listens on."""

from __future__ import annotations

import socket

from earmark.errors import UsageError
from earmark.io.os_errors import os_errors_as


def bind(host: str, port: int, flags: str) -> socket.socket:
    """Return a socket bound to an address. It accepts no connections before :func:`listen`.

    Args:
        host: host name or address.
        port: port; 0 chooses a free one.
        flags: the flags that set host and port, for the error message.

    Raises:
        UsageError: this machine does not have the address, or the port is in use.
    """
    with os_errors_as(UsageError, f"{flags}: cannot listen on this address"):
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        # Name the protocol: asyncio sets TCP_NODELAY only if it is named. Without it, each response takes 40 ms.
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
    """Start accepting connections.

    Raises:
        UsageError: another process started listening on the address first.
    """
    with os_errors_as(UsageError, f"{flags}: cannot listen on this address"):
        listener.listen()


def page_address(host: str, port: int) -> str:
    """Return the URL of the page for a browser on this machine.

    Args:
        host: address that the server listens on; an address that means all interfaces becomes loopback.
        port: the port.
    """
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
