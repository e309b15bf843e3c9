"""The socket that a server listens on."""

from __future__ import annotations

import asyncio
import socket

from earmark.http.listen import bind, listen


def test_answers_do_not_wait_for_acknowledgements() -> None:
    """A connection of asyncio sends small packets at once only if the protocol of the listener is named."""

    async def option_of_a_connection() -> int:
        accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            accepted.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        async with await asyncio.start_server(accept, sock=listener):
            _, client = await asyncio.open_connection(*listener.getsockname())
            found = await accepted
            client.close()
            await client.wait_closed()
        return found

    with bind("127.0.0.1", 0, "") as listener:
        listen(listener, "")
        assert asyncio.run(option_of_a_connection()) == 1
