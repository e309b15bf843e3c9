"""Read request bodies with limits on size, silence and total time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect


@dataclass(frozen=True)
class BodyLimits:
    """Limits for one request body.

    Attributes:
        max_bytes: maximum size.
        silence_s: maximum wait for the next bytes, in seconds.
        total_s: maximum time for the whole body, in seconds.
    """

    max_bytes: int
    silence_s: float
    total_s: float


@dataclass
class MemoryBudget:
    """Memory that the bodies of all requests may use together, so that many large bodies cannot fill the memory.

    Attributes:
        max_bytes: maximum number of bytes.
        held: bytes of bodies that are being read or waiting to be decoded.
    """

    max_bytes: int
    held: int = 0

    def take(self, count: int) -> None:
        """Reserve bytes.

        Raises:
            HTTPException: 429, too many bytes are reserved.
        """
        if self.held + count > self.max_bytes:
            raise busy("the server is receiving too many bytes")
        self.held += count

    def give_back(self, count: int) -> None:
        """Release bytes."""
        self.held -= count


def busy(reason: str) -> HTTPException:
    """Return the error for a request that should be retried later."""
    return HTTPException(429, f"{reason}. Try again in a second.", headers={"Retry-After": "1"})


async def read_body(request: Request, limits: BodyLimits, budget: MemoryBudget) -> bytes:
    """Read a body within the limits. Its bytes stay reserved in the budget until the caller releases them.

    Raises:
        HTTPException: 413 too large, 408 too slow, 429 no memory left.
        ClientDisconnect: the client disconnected.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limits.max_bytes:
        raise _too_large(limits)
    parts: list[bytes] = []
    size = 0
    deadline_s = time.monotonic() + limits.total_s
    try:
        while True:
            part, more = await _next_part(request, limits, deadline_s)
            if size + len(part) > limits.max_bytes:
                raise _too_large(limits)
            budget.take(len(part))
            size += len(part)
            parts.append(part)
            if not more:
                return b"".join(parts)
    except BaseException:
        budget.give_back(size)
        raise


async def _next_part(request: Request, limits: BodyLimits, deadline_s: float) -> tuple[bytes, bool]:
    """Return the next bytes, and whether more follow."""
    left_s = deadline_s - time.monotonic()
    try:
        message = await asyncio.wait_for(request.receive(), max(0.0, min(limits.silence_s, left_s)))
    except asyncio.TimeoutError as exc:
        if left_s > limits.silence_s:
            raise HTTPException(408, f"no bytes for {limits.silence_s:g} s. Send faster") from exc
        raise HTTPException(408, f"the request took longer than {limits.total_s:g} s to arrive. Send faster") from exc
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)


def _too_large(limits: BodyLimits) -> HTTPException:
    return HTTPException(413, f"the body is larger than {limits.max_bytes} bytes. Send a smaller one")
