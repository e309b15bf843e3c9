"""Send thousands of broken recordings, requests and streams to a real `earmark serve`.

    python benchmarks/fuzz.py MODEL --cases 2000 --json fuzz.json

Each case depends only on its number and `--seed`, so `--only 1234` repeats a single one. A case passes if the server
responds in time with status 4xx (a stream: closes with a code for the client's error), or with status 200 and finite
scores if the recording is still usable (a flipped bit in a sample is no error). A case fails on status 5xx, on a
timeout, on a connection that is closed without a response, and on status 200 if no response can be right. Between
cases, the response to an intact clip must stay the same. At the end, the server must still be running, with its memory
below the limit, and must exit with code 0.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from fuzz_cases import Case, make_case, make_seeds, request
from serve import start_server

LIMITS = ["--max_seconds", "30", "--max_timeline_seconds", "60", "--max_body_mb", "2", "--read_timeout_seconds", "2"]
LIMITS += ["--body_timeout_seconds", "6", "--decode_timeout_seconds", "5"]
DEADLINE_S = 30.0
# close codes for errors of the client (RFC 6455, section 7.4.1); 1011 is an error of the server
_STREAM_REFUSED = {1002, 1003, 1007, 1008, 1009}


async def send(port: int, case: Case) -> tuple[int, bytes]:
    """Send a case; return status and body of the response, or status 0 if the connection closes without a response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def write() -> None:
        for number, part in enumerate(case.parts):
            await asyncio.sleep(case.pause_s if number else 0)
            writer.write(part)
            await writer.drain()

    writing = asyncio.create_task(write())
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        if head.startswith("http/1.1 101"):
            return await _read_stream(reader)
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        return int(head.split(" ")[1]), await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0, b""
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        writer.close()


async def _read_stream(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read the messages of a stream to its end; return its close code and the messages as JSON."""
    said = []
    while True:
        opcode, size = await reader.readexactly(2)
        if size >= 126:
            size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
        payload = await reader.readexactly(size)
        if opcode & 15 == 8:
            return int.from_bytes(payload[:2], "big"), json.dumps(said).encode()
        if opcode & 15 == 1:
            said.append(json.loads(payload))


def fault(case: Case, status: int, body: bytes) -> str | None:
    """Return what is wrong with a response; ``None`` if it is right."""
    if status == 0:
        return "closed without a response"
    if 400 <= status < 500:
        # the WebSocket library refuses a bad handshake with its own message, which is not JSON
        text = body.decode().strip() if case.kind == "stream: handshake" else json.loads(body).get("error", "")
        return None if text and "\n" not in text else f"{status} without an error message of one line"
    if status in _STREAM_REFUSED:
        return None
    if status not in (200, 1000):
        return f"status {status}"
    if not case.may_succeed:
        return f"{status} for a case that cannot succeed"
    return None if _is_finite(json.loads(body)) else "scores that are not finite"


def _is_finite(answer: object) -> bool:
    if isinstance(answer, dict):
        return all(_is_finite(value) for value in answer.values())
    if isinstance(answer, list):
        return all(_is_finite(value) for value in answer)
    return not isinstance(answer, float) or math.isfinite(answer)


@dataclass
class Outcome:
    """Results of all cases."""

    answers: Counter[str]
    faults: list[str]
    slowest_s: float = 0.0


async def attack(port: int, numbers: list[int], seed: int, clients: int) -> Outcome:
    """Send all cases from several clients at once; every 50 cases, check the response to an intact clip."""
    seeds = make_seeds()
    outcome = Outcome(Counter(), [])
    whole = Case("intact clip", [request(seeds["wav"])])
    expected = await send(port, whole)
    left = iter(numbers)

    async def client() -> None:
        for number in left:
            case = make_case(number, seed, seeds)
            started_s = time.monotonic()
            try:
                status, body = await asyncio.wait_for(send(port, case), DEADLINE_S)
                wrong = fault(case, status, body)
            except asyncio.TimeoutError:
                status, wrong = 0, f"no response within {DEADLINE_S:.0f} s"
            if not case.kind.startswith("slow"):
                outcome.slowest_s = max(outcome.slowest_s, time.monotonic() - started_s)
            outcome.answers[f"{case.kind.split(':')[0]} {status}"] += 1
            if wrong:
                outcome.faults.append(f"case {number} ({case.kind}): {wrong}")
            if number % 50 == 0 and not _is_same(await send(port, whole), expected):
                outcome.faults.append(f"after case {number}: the response to an intact clip changed")

    await asyncio.gather(*(client() for _ in range(clients)))
    return outcome


def _is_same(answer: tuple[int, bytes], expected: tuple[int, bytes]) -> bool:
    if answer[0] != 200 or expected[0] != 200:
        return False
    rows = {row["label"]: row["score"] for row in json.loads(answer[1])}
    return all(abs(rows.get(row["label"], 9) - row["score"]) < 1e-4 for row in json.loads(expected[1]))


def peak_mb(pid: int) -> float:
    """Return the peak resident memory of a process in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return round(int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024, 1)


def main() -> int:
    """Start a server, send all cases and print the results; return 1 if any check fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--only", type=int, help="number of the only case to send")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument(
        "--memory_mb", type=float, default=300, help="largest growth of memory after the first clip, in MB"
    )
    parser.add_argument("--json", type=Path, help="file for the results")
    options = parser.parse_args()
    numbers = [options.only] if options.only is not None else list(range(options.cases))
    process, port = start_server(options.model, LIMITS)
    try:
        asyncio.run(send(port, Case("intact clip", [request(make_seeds()["wav"])])))
        before_mb = peak_mb(process.pid)
        outcome = asyncio.run(attack(port, numbers, options.seed, options.clients))
        alive = process.poll() is None
        after_mb = peak_mb(process.pid) if alive else math.nan
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    for line in outcome.faults:
        print(line)
    for name, count in sorted(outcome.answers.items()):
        print(f"{count:6,} {name}")
    grown = after_mb - before_mb
    print(
        f"{len(numbers):,} cases, {len(outcome.faults)} failures; slowest response {outcome.slowest_s:.1f} s; "
        f"peak memory {before_mb:.0f} -> {after_mb:.0f} MB; server {'survived' if alive else 'DIED'}, exit code {code}"
    )
    if options.json:
        results = {"answers": outcome.answers, "faults": outcome.faults, "peak_mb": [before_mb, after_mb]}
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0 if not outcome.faults and alive and code == 0 and grown < options.memory_mb else 1


if __name__ == "__main__":
    sys.exit(main())
