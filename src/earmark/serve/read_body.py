"""Request bodies, with limits that hold while the bytes arrive: size, silence, and the time that all may take."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect


@dataclass(frozen=True)
class BodyLimits:
    """What a request body may cost.

    Attributes:
        max_bytes: largest body.
        silence_s: longest wait for the next bytes, in seconds.
        total_s: longest time for the whole body, in seconds.
    """

    max_bytes: int
    silence_s: float
    total_s: float


@dataclass
class MemoryBudget:
    """Bytes that bodies of all requests together may hold, so that many large ones cannot fill the memory.

    Attributes:
        max_bytes: the most.
        held: bytes of bodies that are being read or wait to be decoded.
    """

    max_bytes: int
    held: int = 0

    def take(self, count: int) -> None:
        """Count bytes in.

        Raises:
            HTTPException: 429, there is no room for them.
        """
        if self.held + count > self.max_bytes:
            raise busy("too many bytes are on their way to this server")
        self.held += count

    def give_back(self, count: int) -> None:
        """Count bytes out."""
        self.held -= count


def busy(reason: str) -> HTTPException:
    """What a client is told that should come back."""
    return HTTPException(429, f"{reason}; try again in a second", headers={"Retry-After": "1"})


async def read_body(request: Request, limits: BodyLimits, budget: MemoryBudget) -> bytes:
    """Read a body as far as the limits go. The bytes are counted in the budget until the caller gives them back.

    Raises:
        HTTPException: 413 too large, 408 too slow, 429 no room.
        ClientDisconnect: the client has gone.
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
    """Return the next bytes, and whether more will come."""
    left_s = deadline_s - time.monotonic()
    try:
        message = await asyncio.wait_for(request.receive(), max(0.0, min(limits.silence_s, left_s)))
    except asyncio.TimeoutError as exc:
        if left_s > limits.silence_s:
            raise HTTPException(408, f"no bytes for {limits.silence_s:g} s") from exc
        raise HTTPException(408, f"the request took longer than {limits.total_s:g} s to arrive") from exc
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)


def _too_large(limits: BodyLimits) -> HTTPException:
    return HTTPException(413, f"the body is larger than {limits.max_bytes} bytes, the most that is taken")
