"""AIFF and AU: audio after a header whose size field may be wrong. :mod:`earmark.audio.layout_wav` gives the rules."""

from __future__ import annotations

import struct
from typing import BinaryIO

from earmark.audio.layout import Layout, Stream, cut_short, is_junk, left_out, missing, more_than_announced, read_at
from earmark.audio.layout_wav import STREAMED
from earmark.audio.pieces import Extent

_AU_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}  # bytes per sample, by encoding
_MOST_CHUNKS = 1000
_PCM = (b"none", b"twos", b"sowt", b"fl32", b"fl64", b"in24", b"in32")
_UNKNOWN = 0xFFFFFFFF  # size in an AU header that means "up to the end of the file"


def au_layout(file: BinaryIO, size: int) -> Layout:
    """Return the layout of an AU file. Encodings of less than a byte per sample are left to the decoder."""
    head = read_at(file, 0, 24)
    if len(head) < 24:
        return Layout()
    start, announced, encoding, rate_hz, channels = struct.unpack_from(">5I", head, 4)
    there = size - start
    per_second = _AU_BYTES.get(encoding, 0) * rate_hz * channels
    if not per_second or announced == there or announced >= STREAMED or there <= 0 or start < 24:
        return Layout()
    used = announced if is_junk(announced, there, per_second) else there
    header = head[:8] + struct.pack(">I", min(used, _UNKNOWN)) + read_at(file, 12, start - 12)
    return _compared(announced, there, per_second, Stream((header, Extent(start, used))))


def aiff_layout(file: BinaryIO, size: int) -> Layout:
    """Return the layout of an AIFF file with PCM samples. Other encodings are left to the decoder."""
    chunks = _chunks(file, size)
    if b"COMM" not in chunks or b"SSND" not in chunks:
        return Layout()
    comm_at, comm_length = chunks[b"COMM"]
    comm = read_at(file, comm_at, min(comm_length, 64))
    if len(comm) < 18:
        return Layout()
    at, length = chunks[b"SSND"]
    channels, frames, bits = struct.unpack_from(">hIh", comm)
    frame_bytes = channels * ((bits + 7) // 8)
    rate_hz = _extended(comm[8:18])
    is_pcm = len(comm) < 22 or comm[18:22].lower() in _PCM
    there = size - at - 8
    announced = max(frames * frame_bytes, length - 8)
    if not is_pcm or frame_bytes <= 0 or rate_hz <= 0 or there < 0 or comm_at > at:
        return Layout()
    consistent = frames * frame_bytes == length - 8
    if consistent and (announced == there or (announced < there and _follows(file, at + length, size))):
        return Layout()
    if announced < there and _follows(file, at + length, size) and length > 8:
        there = length - 8
    used = announced if is_junk(announced, there, frame_bytes * rate_hz) else there
    header = bytearray(read_at(file, 0, at + 8))
    if len(header) + used >= _UNKNOWN:
        header = bytearray(_as_au(comm, frame_bytes // channels, round(rate_hz), channels))
    else:
        header[4:8] = struct.pack(">I", len(header) - 8 + used)
        header[at - 4 : at] = struct.pack(">I", used + 8)
        header[comm_at + 2 : comm_at + 6] = struct.pack(">I", used // frame_bytes)
    stream = Stream((bytes(header), Extent(at + 8, used)))
    return _compared(announced, there, frame_bytes * rate_hz, stream)


def _as_au(comm: bytes, sample_bytes: int, rate_hz: int, channels: int) -> bytes:
    """Return an AU header for the same samples, for files above 4 GiB, whose size does not fit into an AIFF header."""
    kind = comm[18:22].lower()
    mark = b"dns." if kind == b"sowt" else b".snd"  # little or big endian
    encoding = {b"fl32": 6, b"fl64": 7}.get(kind, sample_bytes + 1)
    return mark + struct.pack("<5I" if kind == b"sowt" else ">5I", 24, _UNKNOWN, encoding, rate_hz, channels)


def _compared(announced: int, there: int, per_second: float, stream: Stream) -> Layout:
    if announced > there:
        fault = missing(announced, there, per_second)
        return Layout((stream,), (fault,) if fault else (), cut_short(announced, there, per_second))
    if is_junk(announced, there, per_second):
        return Layout((stream,), (left_out(there - announced, per_second),))
    return Layout((stream,), (more_than_announced(announced, there, per_second),) if announced < there else ())


def _chunks(file: BinaryIO, size: int) -> dict[bytes, tuple[int, int]]:
    """Return the start of the content and the length of each chunk, by name."""
    found: dict[bytes, tuple[int, int]] = {}
    at = 12
    for _ in range(_MOST_CHUNKS):
        head = read_at(file, at, 8)
        if len(head) < 8:
            break
        name, length = head[:4], struct.unpack_from(">I", head, 4)[0]
        found.setdefault(name, (at + 8, length))
        at += 8 + length + length % 2
    return found


def _follows(file: BinaryIO, at: int, size: int) -> bool:
    """Return whether a chunk starts at ``at``, or at most one byte is left."""
    for start in (at, at + 1):
        head = read_at(file, start, 8)
        if start >= size or (
            len(head) == 8 and head[:4].isalpha() and struct.unpack(">I", head[4:])[0] <= size - start
        ):
            return True
    return False


def _extended(data: bytes) -> float:
    """Return an 80-bit extended float, the type of the sampling rate in AIFF."""
    if len(data) < 10:
        return 0.0
    exponent, mantissa = struct.unpack(">HQ", data)
    power = (exponent & 0x7FFF) - 16383 - 63
    return float(mantissa) * 2.0**power if -64 < power < 0 else 0.0  # no sampling rate is outside this range
