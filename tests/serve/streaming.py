"""A client of ``/v1/stream``."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.patience import PATIENCE_S
from tests.serve.conftest import Server

# of the client: no proxy, and no limit within which a busy machine has to answer
PATIENT: dict[str, Any] = {
    "proxy": None,
    "open_timeout": PATIENCE_S,
    "close_timeout": PATIENCE_S,
    "ping_interval": None,
}
Answer = tuple[list[dict[str, Any]], int]


def stream(server: Server, query: str, messages: list[bytes | str], **headers: str) -> Answer:
    """What comes back, and the code that the connection is closed with."""

    async def talk() -> Answer:
        rows: list[dict[str, Any]] = []
        address = f"ws://127.0.0.1:{server.port}/v1/stream?{query}"
        async with connect(address, additional_headers=headers, **PATIENT) as socket:
            with contextlib.suppress(ConnectionClosed):  # the server may close while a large one is on its way
                for message in messages:
                    await socket.send(message)
            try:
                while True:
                    rows.append(json.loads(await socket.recv()))
            except ConnectionClosed:
                return rows, socket.close_code or 0

    return asyncio.run(asyncio.wait_for(talk(), PATIENCE_S))


def pieces(data: bytes, size: int) -> list[bytes | str]:
    return [data[i : i + size] for i in range(0, len(data), size)]
