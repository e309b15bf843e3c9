"""Broken recordings and broken requests by the thousand, sent to a real `earmark serve`.

    python benchmarks/fuzz.py MODEL --cases 2000 --json fuzz.json

Each case is made from its number and `--seed` alone, so `--only 1234` sends one again. A case passes when the server
answers in time with 4xx, or with 200 and finite scores where the recording can still be heard (a flipped bit in a
sample is no fault). It fails on 5xx, on silence, on a connection that is closed without a word, and on 200 where no
answer can be right. Between cases a whole clip has to get the answer that it got at first; at the end the server has to
have lived through it all, with its memory below the limit, and to leave with exit code 0.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import math
import random
import signal
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from serve import start_server

LIMITS = ["--max_seconds", "30", "--max_timeline_seconds", "60", "--max_body_mb", "2", "--read_timeout_seconds", "2"]
LIMITS += ["--body_timeout_seconds", "6", "--decode_timeout_seconds", "5"]
DEADLINE_S = 30.0
RATE_HZ = 16_000
ROUTES = ("/v1/classify", "/v1/timeline")


@dataclass
class Case:
    """One thing to send, as it goes over the wire.

    Attributes:
        kind: what is wrong with it.
        parts: pieces of the request, sent one behind the other.
        pause_s: silence before each piece but the first.
        may_be_heard: whether 200 is an answer that can be right.
    """

    kind: str
    parts: list[bytes]
    pause_s: float = 0.0
    may_be_heard: bool = True


def encoded(wave: np.ndarray, format: str, subtype: str | None = None, rate_hz: int = RATE_HZ) -> bytes:
    """A recording as a file."""
    file = io.BytesIO()
    soundfile.write(file, wave, rate_hz, format=format, subtype=subtype)
    data = bytearray(file.getvalue())
    if (peak := data.find(b"PEAK")) >= 0:  # libsndfile writes the time of day behind it
        data[peak + 12 : peak + 16] = bytes(4)
    return bytes(data)


def make_seeds() -> dict[str, bytes]:
    """Whole recordings to break."""
    rng = np.random.default_rng(0)
    wave = (0.3 * np.sin(np.arange(RATE_HZ) / 8) + rng.normal(0, 0.05, RATE_HZ)).astype(np.float32)
    stereo = np.stack([wave, -wave], axis=1)
    return {
        "wav": encoded(wave, "WAV"),
        "wav24": encoded(stereo, "WAV", "PCM_24"),
        "float": encoded(wave, "WAV", "FLOAT"),
        "adpcm": encoded(wave, "WAV", "IMA_ADPCM"),
        "aiff": encoded(wave, "AIFF"),
        "au": encoded(wave, "AU"),
        "flac": encoded(wave, "FLAC"),
        "ogg": encoded(wave, "OGG"),
        "mp3": encoded(wave, "MP3"),
        "rf64": encoded(wave, "RF64"),
    }


def request(body: bytes, *, route: str = ROUTES[0], headers: str = "", length: int | None = None) -> bytes:
    """A POST as bytes."""
    size = len(body) if length is None else length
    return f"POST {route} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n{headers}\r\n".encode() + body


def mutated(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """One of the ways in which files break."""
    way = rng.choice(["cut", "flip", "header", "zero", "twice", "shuffle", "grow", "sizes", "empty"])
    broken = bytearray(data)
    if way == "cut":
        del broken[rng.randrange(len(broken)) :]
    elif way == "flip":
        for _ in range(rng.choice([1, 8, 256])):
            broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
    elif way == "header":  # the first bytes decide about everything behind them
        for _ in range(rng.randint(1, 12)):
            broken[rng.randrange(4, min(80, len(broken)))] = rng.choice([0, 0x7F, 0x80, 0xFF])
    elif way == "zero":
        start = rng.randrange(len(broken))
        end = min(len(broken), start + rng.randint(1, 4096))
        broken[start:end] = bytes(end - start)
    elif way == "twice":
        start = rng.randrange(len(broken))
        broken[start:start] = broken[: rng.randint(1, 2000)]
    elif way == "shuffle":
        start, size = rng.randrange(len(broken)), 512
        piece = broken[start : start + size]
        rng.shuffle(piece)
        broken[start : start + size] = piece
    elif way == "grow":
        broken += rng.randbytes(rng.randint(1, 100_000))
    elif way == "sizes":  # a length or rate of up to 4 GB somewhere in the header
        at = rng.randrange(4, min(64, len(broken) - 4))
        broken[at : at + 4] = struct.pack(
            rng.choice("<>") + "I", rng.choice([0, 1, 2**31, 2**32 - 1, 10 * 3600 * 32_000])
        )
    else:
        broken = bytearray(rng.randbytes(rng.randint(0, 64)))
    return way, bytes(broken)


def broken_recording(seeds: dict[str, bytes], rng: random.Random) -> Case:
    """A recording that is damaged, in one of the three forms of a request."""
    name = rng.choice(sorted(seeds))
    way, data = mutated(seeds[name], rng)
    route, kind = rng.choice(ROUTES), f"recording: {way}"
    form = rng.choice(["raw", "raw", "json", "multipart"])
    if form == "json":
        body = json.dumps({"inputs": base64.b64encode(data).decode()}).encode()
        return Case(kind, [request(body, route=route, headers="Content-Type: application/json\r\n")])
    if form == "multipart":
        body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + data + b"\r\n--x--\r\n"
        return Case(kind, [request(body, route=route, headers="Content-Type: multipart/form-data; boundary=x\r\n")])
    return Case(kind, [request(data, route=route)])


def not_finite(seeds: dict[str, bytes], rng: random.Random) -> Case:
    """Samples that are no numbers."""
    wave = np.full(8000, rng.choice([math.nan, math.inf, -math.inf, 1e38]), dtype=np.float32)
    return Case("samples: not finite", [request(encoded(wave, "WAV", "FLOAT"))])


def too_long(seeds: dict[str, bytes], rng: random.Random) -> Case:
    """Hours of silence in few bytes, or claimed by a header."""
    if rng.random() < 0.5:
        silence = encoded(np.zeros(8000 * rng.randint(120, 600), dtype=np.int16), "FLAC", rate_hz=8000)
        return Case("length: a bomb of silence", [request(silence, route=rng.choice(ROUTES))], may_be_heard=False)
    data = bytearray(seeds["wav"])
    size = 10 * 3600 * RATE_HZ * 2
    data[4:8], data[40:44] = struct.pack("<I", size + 36), struct.pack("<I", size)
    return Case("length: a header that claims 10 hours", [request(bytes(data))])


_NAMES = ["/etc/passwd", "file:///etc/passwd", "../../etc/passwd", "http://127.0.0.1:9/a.wav", "concat:/etc/passwd"]
_PLAYLISTS = [b"#EXTM3U\nfile:///etc/passwd\n", b"ffconcat version 1.0\nfile /etc/passwd\n", b"<smil/>"]


def path_trick(seeds: dict[str, bytes], rng: random.Random) -> Case:
    """A name where a recording belongs, or a playlist that names one."""
    name = rng.choice(_NAMES)
    kind = "path"
    if rng.random() < 0.3:
        return Case(kind, [request(rng.choice(_PLAYLISTS))], may_be_heard=False)
    if rng.random() < 0.3:
        return Case(kind, [f"GET /{name} HTTP/1.1\r\nHost: a\r\n\r\n".encode()], may_be_heard=False)
    body = json.dumps({"inputs": name}).encode()
    return Case(kind, [request(body, headers="Content-Type: application/json\r\n")], may_be_heard=False)


def broken_form(seeds: dict[str, bytes], rng: random.Random) -> Case:
    """JSON, forms and settings that are wrong."""
    audio = base64.b64encode(seeds["wav"]).decode()
    as_json = "Content-Type: application/json\r\n"
    bodies = [
        b"{", b"[" * 50_000, b'{"inputs": 3}', b'{"inputs": "AA=A"}', b'{"inputs": null}', b"\xff\xfe", b"null",
        json.dumps({"inputs": audio, "parameters": {"top_k": rng.choice([-1, 0, 1e99, "x", None, [1]])}}).encode(),
        json.dumps({"inputs": audio, "parameters": rng.choice([3, [], "x"])}).encode(),
    ]  # fmt: skip
    query = rng.choice(
        ["top_k=-1", "top_k=1e9", "top_k=x", "function_to_apply=exec", "window_seconds=nan", "hop_seconds=0"]
    )
    route = f"{rng.choice(ROUTES)}?{query}"
    boundary = rng.choice(["x", "", '"', "y" * 500])
    form = request(b"--x\r\n\r\n", headers=f"Content-Type: multipart/form-data; boundary={boundary}\r\n")
    choices = [request(rng.choice(bodies), headers=as_json), request(seeds["wav"], route=route), form]
    return Case("form", [rng.choice(choices)])


def broken_http(seeds: dict[str, bytes], rng: random.Random) -> Case:
    """Requests that are no HTTP, lie about their length or are larger than allowed."""
    wav = seeds["wav"]
    chunked = b"POST /v1/classify HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    kind, parts = rng.choice(
        [
            ("http: no HTTP", [rng.randbytes(200) + b"\r\n\r\n"]),
            ("http: huge header", [request(wav, headers=f"X-A: {'a' * 1_000_000}\r\n")]),
            ("http: many headers", [request(wav, headers="X-A: a\r\n" * 200_000)]),
            ("http: length is no number", [b"POST /v1/classify HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n"]),
            ("http: body above the limit", [request(wav, length=3 << 20)]),
            ("http: broken chunk", [chunked + b"zz\r\n" + wav]),
            ("http: chunk that claims 4 GB", [chunked + b"ffffffff\r\n", *[bytes(1 << 20)] * 3]),
            ("http: unknown method", [b"BREW /v1/classify HTTP/1.1\r\nHost: a\r\n\r\n"]),
            ("http: unknown route", [f"GET /{rng.random()} HTTP/1.1\r\nHost: a\r\n\r\n".encode()]),
        ]
    )
    return Case(kind, parts, may_be_heard=False)


def slow(seeds: dict[str, bytes], rng: random.Random) -> Case:
    """A client that sends a little at a time, or stops in the middle."""
    whole = request(seeds["wav"])
    if rng.random() < 0.5:
        return Case("slow: stops in mid-body", [whole[:2000]], may_be_heard=False)
    head = [whole[:20], b"X: a\r\n", *[b"Y: b\r\n"] * 20]
    return Case("slow: head in drops", head, pause_s=0.5, may_be_heard=False)


MAKERS: list[tuple[float, Callable[[dict[str, bytes], random.Random], Case]]] = [
    (0.68, broken_recording), (0.03, not_finite), (0.05, too_long), (0.07, path_trick), (0.08, broken_form),
    (0.08, broken_http), (0.01, slow),
]  # fmt: skip


def make_case(number: int, seed: int, seeds: dict[str, bytes]) -> Case:
    """The case of a number."""
    rng = random.Random(f"{seed} {number}")
    (maker,) = rng.choices([maker for _, maker in MAKERS], [weight for weight, _ in MAKERS])
    return maker(seeds, rng)


async def send(port: int, case: Case) -> tuple[int, bytes]:
    """Send a case; status and body of the answer, status 0 where the connection closes without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def write() -> None:
        for number, part in enumerate(case.parts):
            await asyncio.sleep(case.pause_s if number else 0)
            writer.write(part)
            await writer.drain()

    writing = asyncio.create_task(write())
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        return int(head.split(" ")[1]), await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0, b""
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        writer.close()


def fault(case: Case, status: int, body: bytes) -> str | None:
    """What is wrong with an answer."""
    if status == 0:
        return "closed without an answer"
    if 400 <= status < 500:
        text = json.loads(body).get("error", "")
        return None if text and "\n" not in text else f"{status} without one line that says why"
    if status != 200:
        return f"status {status}"
    if not case.may_be_heard:
        return "200 to what cannot be heard"
    return None if _is_finite(json.loads(body)) else "scores that are not finite"


def _is_finite(answer: object) -> bool:
    if isinstance(answer, dict):
        return all(_is_finite(value) for value in answer.values())
    if isinstance(answer, list):
        return all(_is_finite(value) for value in answer)
    return not isinstance(answer, float) or math.isfinite(answer)


@dataclass
class Outcome:
    """What all cases came to."""

    answers: Counter[str]
    faults: list[str]
    slowest_s: float = 0.0


async def attack(port: int, numbers: list[int], seed: int, clients: int) -> Outcome:
    """Send all cases from some clients at once, with a whole clip now and then that has to get its answer."""
    seeds = make_seeds()
    outcome = Outcome(Counter(), [])
    whole = Case("whole clip", [request(seeds["wav"])])
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
                status, wrong = 0, f"no answer within {DEADLINE_S:.0f} s"
            if not case.kind.startswith("slow"):
                outcome.slowest_s = max(outcome.slowest_s, time.monotonic() - started_s)
            outcome.answers[f"{case.kind.split(':')[0]} {status}"] += 1
            if wrong:
                outcome.faults.append(f"case {number} ({case.kind}): {wrong}")
            if number % 50 == 0 and not _is_same(await send(port, whole), expected):
                outcome.faults.append(f"after case {number}: a whole clip got another answer")

    await asyncio.gather(*(client() for _ in range(clients)))
    return outcome


def _is_same(answer: tuple[int, bytes], expected: tuple[int, bytes]) -> bool:
    if answer[0] != 200 or expected[0] != 200:
        return False
    rows = {row["label"]: row["score"] for row in json.loads(answer[1])}
    return all(abs(rows.get(row["label"], 9) - row["score"]) < 1e-4 for row in json.loads(expected[1]))


def peak_mb(pid: int) -> float:
    """The most memory that the process has held."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return round(int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024, 1)


def main() -> int:
    """Attack and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--only", type=int, help="send this case alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--memory_mb", type=float, default=300, help="how far memory may grow above the first answer's")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    numbers = [options.only] if options.only is not None else list(range(options.cases))
    process, port = start_server(options.model, LIMITS)
    try:
        asyncio.run(send(port, Case("whole clip", [request(make_seeds()["wav"])])))
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
        f"{len(numbers):,} cases, {len(outcome.faults)} faults; slowest answer {outcome.slowest_s:.1f} s; peak memory "
        f"{before_mb:.0f} -> {after_mb:.0f} MB; server {'lived' if alive else 'DIED'}, exit code {code}"
    )
    if options.json:
        figures = {"answers": outcome.answers, "faults": outcome.faults, "peak_mb": [before_mb, after_mb]}
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0 if not outcome.faults and alive and code == 0 and grown < options.memory_mb else 1


if __name__ == "__main__":
    sys.exit(main())
