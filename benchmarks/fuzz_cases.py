"""The broken recordings, requests and streams of ``fuzz.py``. Each depends only on its number and a seed."""

from __future__ import annotations

import base64
import io
import json
import math
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass

import av
import numpy as np
import soundfile

RATE_HZ = 16_000
ROUTES = ("/v1/classify", "/v1/timeline")


@dataclass
class Case:
    """A request as bytes.

    Attributes:
        kind: what is wrong with the request.
        parts: pieces of the request, sent one after another.
        pause_s: pause before each piece except the first.
        may_succeed: whether status 200 (of a stream: close code 1000) can be right.
    """

    kind: str
    parts: list[bytes]
    pause_s: float = 0.0
    may_succeed: bool = True


def encoded(wave: np.ndarray, format: str, subtype: str | None = None, rate_hz: int = RATE_HZ) -> bytes:
    """Return a recording as the bytes of a file."""
    file = io.BytesIO()
    soundfile.write(file, wave, rate_hz, format=format, subtype=subtype)
    data = bytearray(file.getvalue())
    if (peak := data.find(b"PEAK")) >= 0:  # libsndfile writes the current time after it
        data[peak + 12 : peak + 16] = bytes(4)
    return bytes(data)


def make_seeds() -> dict[str, bytes]:
    """Return intact recordings to break, by format."""
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
        "mp4": video("mp4", "aac"),
        "webm": video("webm", "libopus"),
    }


def video(container: str, codec: str) -> bytes:
    """Return one second of a tone in a container and codec that phones or browsers record."""
    file = io.BytesIO()
    with av.open(file, "w", format=container, options={"fflags": "+bitexact"}) as output:
        stream = output.add_stream(codec, rate=48_000)
        wave = (0.3 * np.sin(np.arange(48_000) / 24)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(wave[None], format="flt", layout="mono")
        frame.sample_rate = 48_000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def request(body: bytes, *, route: str = ROUTES[0], headers: str = "", length: int | None = None) -> bytes:
    """Return a POST request as bytes."""
    size = len(body) if length is None else length
    return f"POST {route} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n{headers}\r\n".encode() + body


def mutated(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Break a file in a random way; return the name of the way and the broken file."""
    way = rng.choice(["cut", "flip", "header", "zero", "twice", "shuffle", "grow", "sizes", "empty"])
    broken = bytearray(data)
    if way == "cut":
        del broken[rng.randrange(len(broken)) :]
    elif way == "flip":
        for _ in range(rng.choice([1, 8, 256])):
            broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
    elif way == "header":  # the first bytes determine how the rest is read
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
    """Return a damaged recording in one of the three forms of a request."""
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
    """Return a recording whose samples are NaN, infinite or huge."""
    wave = np.full(8000, rng.choice([math.nan, math.inf, -math.inf, 1e38]), dtype=np.float32)
    return Case("samples: not finite", [request(encoded(wave, "WAV", "FLOAT"))])


def too_long(seeds: dict[str, bytes], rng: random.Random) -> Case:
    """Return minutes of silence in few bytes, or a header that claims 10 hours."""
    if rng.random() < 0.5:
        silence = encoded(np.zeros(8000 * rng.randint(120, 600), dtype=np.int16), "FLAC", rate_hz=8000)
        return Case("length: compressed silence", [request(silence, route=rng.choice(ROUTES))], may_succeed=False)
    data = bytearray(seeds["wav"])
    size = 10 * 3600 * RATE_HZ * 2
    data[4:8], data[40:44] = struct.pack("<I", size + 36), struct.pack("<I", size)
    return Case("length: a header that claims 10 hours", [request(bytes(data))])


_NAMES = ["/etc/passwd", "file:///etc/passwd", "../../etc/passwd", "http://127.0.0.1:9/a.wav", "concat:/etc/passwd"]
_PLAYLISTS = [b"#EXTM3U\nfile:///etc/passwd\n", b"ffconcat version 1.0\nfile /etc/passwd\n", b"<smil/>"]


def path_trick(seeds: dict[str, bytes], rng: random.Random) -> Case:
    """Return a path or an address in place of a recording, or a playlist with one."""
    name = rng.choice(_NAMES)
    kind = "path"
    if rng.random() < 0.3:
        return Case(kind, [request(rng.choice(_PLAYLISTS))], may_succeed=False)
    if rng.random() < 0.3:
        return Case(kind, [f"GET /{name} HTTP/1.1\r\nHost: a\r\n\r\n".encode()], may_succeed=False)
    body = json.dumps({"inputs": name}).encode()
    return Case(kind, [request(body, headers="Content-Type: application/json\r\n")], may_succeed=False)


def broken_form(seeds: dict[str, bytes], rng: random.Random) -> Case:
    """Return a request with invalid JSON, an invalid form or an invalid setting."""
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
    """Return a request that is not HTTP, states a wrong length or is too large."""
    wav = seeds["wav"]
    chunked = b"POST /v1/classify HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    kind, parts = rng.choice(
        [
            ("http: not HTTP", [rng.randbytes(200) + b"\r\n\r\n"]),
            ("http: huge header", [request(wav, headers=f"X-A: {'a' * 1_000_000}\r\n")]),
            ("http: many headers", [request(wav, headers="X-A: a\r\n" * 200_000)]),
            ("http: negative length", [b"POST /v1/classify HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n"]),
            ("http: body above the limit", [request(wav, length=3 << 20)]),
            ("http: broken chunk", [chunked + b"zz\r\n" + wav]),
            ("http: chunk that claims 4 GB", [chunked + b"ffffffff\r\n", *[bytes(1 << 20)] * 3]),
            ("http: unknown method", [b"BREW /v1/classify HTTP/1.1\r\nHost: a\r\n\r\n"]),
            ("http: unknown route", [f"GET /{rng.random()} HTTP/1.1\r\nHost: a\r\n\r\n".encode()]),
        ]
    )
    return Case(kind, parts, may_succeed=False)


def slow(seeds: dict[str, bytes], rng: random.Random) -> Case:
    """Return a request that arrives in small pieces, or stops in the middle."""
    whole = request(seeds["wav"])
    if rng.random() < 0.5:
        return Case("slow: stops in the body", [whole[:2000]], may_succeed=False)
    head = [whole[:20], b"X: a\r\n", *[b"Y: b\r\n"] * 20]
    return Case("slow: head in small pieces", head, pause_s=0.5, may_succeed=False)


def frame(
    payload: bytes, opcode: int = 2, *, first: int = 0x80, masked: bool = True, length: int | None = None
) -> bytes:
    """Return a WebSocket frame of a client (RFC 6455, section 5.2); its mask is four zeros, which change nothing."""
    size = len(payload) if length is None else length
    mask_bit = 0x80 if masked else 0
    if size < 126:
        head = bytes([first | opcode, mask_bit | size])
    else:
        head = bytes([first | opcode, mask_bit | 127]) + struct.pack(">Q", size)
    return head + (bytes(4) if masked else b"") + payload


def broken_stream(seeds: dict[str, bytes], rng: random.Random) -> Case:
    """Return a stream with an invalid setting, message or frame."""
    handshake = "GET /v1/stream?{} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    handshake += "Sec-WebSocket-Key: {}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    sound = frame(seeds["wav"][44:32044])
    end = frame(b"end", 1)
    floats = np.full(100, rng.choice([math.nan, math.inf, 1e38]), "<f4").tobytes()
    kind, query, sent, may_succeed = rng.choice(
        [
            ("noise instead of audio", "", frame(rng.randbytes(2 * rng.randint(0, 20_000))) + end, True),
            ("half a sample", "", sound + frame(b"abc"), False),
            ("not finite", "encoding=f32le", frame(floats), False),
            ("unknown text", "", sound + frame(rng.randbytes(5).hex().encode(), 1), False),
            ("text that is not UTF-8", "", frame(b"\xff\xfe", 1), False),
            ("too long", "sampling_rate=4000", sound * 20 + end, False),
            ("not masked", "", frame(b"ab", masked=False), False),
            ("reserved bits", "", frame(b"ab", first=0xF0), False),
            ("reserved opcode", "", frame(b"ab", rng.choice([3, 7, 11, 15])), False),
            ("large ping", "", frame(bytes(300), 9), False),
            ("continuation without a first frame", "", frame(b"ab", 0), False),
            ("frame that claims 2^60 bytes", "", frame(b"ab", length=1 << 60), False),
            (
                "settings",
                rng.choice(["sampling_rate=-1", "encoding=exec", "window_seconds=nan", "top_k=x"]),
                b"",
                False,
            ),
            ("handshake", "", b"", False),
        ]
    )
    key = "AAAAAAAAAAAAAAAAAAAAAA==" if kind != "handshake" else rng.choice(["", "x", "A" * 500])
    return Case(f"stream: {kind}", [handshake.format(query, key).encode() + sent], may_succeed=may_succeed)


MAKERS: list[tuple[float, Callable[[dict[str, bytes], random.Random], Case]]] = [
    (0.63, broken_recording), (0.03, not_finite), (0.05, too_long), (0.07, path_trick), (0.08, broken_form),
    (0.08, broken_http), (0.05, broken_stream),
    (0.01, slow),
]  # fmt: skip


def make_case(number: int, seed: int, seeds: dict[str, bytes]) -> Case:
    """Return the case with a number."""
    rng = random.Random(f"{seed} {number}")
    (maker,) = rng.choices([maker for _, maker in MAKERS], [weight for weight, _ in MAKERS])
    return maker(seeds, rng)
