"""How long tests wait for other processes.

A busy machine takes minutes to start a process that imports torch. So a test gives up only when something hangs, and no
test measures its own speed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

PATIENCE_S = 300.0


def wait_until(condition: Callable[[], object], *, poll_s: float = 0.02) -> None:
    """Return as soon as ``condition`` is true; fail after :data:`PATIENCE_S`."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_s, "waited in vain"
        time.sleep(poll_s)


def give_servers_time() -> None:
    """Let requests of httpx that name no timeout wait as long; its default is 5 s."""
    from httpx import _config

    timeout = _config.DEFAULT_TIMEOUT_CONFIG
    timeout.connect = timeout.read = timeout.write = timeout.pool = PATIENCE_S


def read_certificates_once() -> None:
    """Let httpx read the certificates once: each client reads them, and each ``httpx.get`` makes a client, in 20 ms."""
    from httpx._transports import default

    default.create_ssl_context = cache(default.create_ssl_context)
