"""Check whether a request comes from this machine, from the server's own page, or from another site."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from earmark.errors import UsageError
from earmark.http.scope import Scope, header

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_ORIGIN = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[^\s/?#@:\[\]]+)(:\d{1,5})?", re.IGNORECASE)


def is_loopback(host: str) -> bool:
    """Return whether a host, without a port, is ``localhost`` or a loopback address. Other names are not reliable."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def targets_loopback(scope: Scope) -> bool:
    """Return whether the ``Host`` header names this machine. In a DNS rebinding attack it names the attacker's site."""
    try:
        return is_loopback(urlsplit(f"//{header(scope, b'host') or ''}").hostname or "")
    except ValueError:  # not a valid host
        return False


def is_own_page(scope: Scope) -> bool:
    """Return whether a request comes from a page of the same host, or not from a page at all.

    The scheme is not compared, because a proxy may change it.
    """
    origin = header(scope, b"origin")
    if origin is None:
        return True
    try:
        page, own = urlsplit(origin), urlsplit(f"//{header(scope, b'host') or ''}")
        default = _PORTS.get(page.scheme)
        return (page.hostname, page.port or default) == (own.hostname, own.port or default) and bool(own.hostname)
    except ValueError:  # not a valid port
        return False


def check_origins(names: Sequence[str]) -> list[str]:
    """Return origins as browsers send them: lower case, without the default port and a trailing slash.

    Raises:
        UsageError: a name is not an origin.
    """
    return [_checked_origin(name) for name in names]


def _checked_origin(name: str) -> str:
    if name in ("*", "null"):
        return name
    found = _ORIGIN.fullmatch(name.removesuffix("/"))
    if found is None:
        raise UsageError(
            f"--cors_origins {name}: not an origin. Write scheme://host or scheme://host:port, without a path, or *."
        )
    scheme, host, port = found[1].lower(), found[2].lower(), found[3] or ""
    return f"{scheme}://{host}{'' if port == f':{_PORTS[scheme]}' else port}"
