"""Headers and body of a response leave in one packet."""

from __future__ import annotations

import asyncio

from earmark.http.guarded_protocol import _JoinedWrites


class Connection(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes | None] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))

    def close(self) -> None:
        self.sent.append(None)

    def is_closing(self) -> bool:
        return None in self.sent


def test_writes_of_one_step_are_sent_together() -> None:
    async def respond() -> list[bytes | None]:
        connection = Connection()
        joined = _JoinedWrites(connection, asyncio.get_running_loop())
        for part in (b"head", b"body", b""):
            joined.write(part)
        assert connection.sent == []
        await asyncio.sleep(0)
        joined.write(b"second")
        await asyncio.sleep(0)
        joined.write(b"last")
        joined.close()
        assert joined.is_closing()
        await asyncio.sleep(0)
        return connection.sent

    assert asyncio.run(respond()) == [b"headbody", b"second", b"last", None]
