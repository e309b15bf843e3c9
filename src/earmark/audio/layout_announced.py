"""CAF, NIST, VOC, AVR, SDS and XI: check whether a recording is as long as its header announces.

The decoders read whatever samples the file holds.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import BinaryIO

from earmark.audio.layout import Layout, Stream, cut_short, missing, read_at

_MOST_CHUNKS = 1000


@dataclass(frozen=True)
class _Audio:
    start: int  # first byte
    announced: int  # bytes
    per_second: float  # bytes
    # bytes and frames of a packet; only set if libsndfile repeats packets in place of missing ones
    packet: tuple[int, int] | None = None


def announced_layout(file: BinaryIO, container: str, size: int) -> Layout:
    """Return the layout of a file in one of these formats. Unreadable headers are left to the decoders."""
    found = ANNOUNCING[container](file)
    if found is None or found.per_second <= 0 or found.announced <= 0:
        return Layout()
    there = max(0, size - found.start)
    fault = missing(found.announced, there, found.per_second)
    refusal = cut_short(found.announced, there, found.per_second)
    if fault and found.packet:
        num_bytes, frames = found.packet
        return Layout((Stream(num_frames=there // num_bytes * frames),), (fault,), refusal)
    return Layout(faults=(fault,) if fault else (), refusal=refusal)


def _caf(file: BinaryIO) -> _Audio | None:
    """Read the data chunk. Packets of variable size count with their mean size."""
    at, rate_hz, per_second, seconds = 8, 0.0, 0.0, 0.0
    for _ in range(_MOST_CHUNKS):
        head = read_at(file, at, 44)
        if len(head) < 12:
            return None
        name, length = head[:4], struct.unpack_from(">q", head, 4)[0]
        if name == b"desc" and len(head) == 44:
            rate_hz, _, _, packet_bytes, packet_frames = struct.unpack_from(">d4sIII", head, 12)
            rate_hz = rate_hz if 0 < rate_hz < 1e9 else 0.0
            per_second = rate_hz * packet_bytes / packet_frames if packet_frames else 0.0
        if name == b"pakt" and len(head) >= 28 and rate_hz:
            seconds = struct.unpack_from(">q", head, 20)[0] / rate_hz
        if name == b"data":  # -1 if it extends to the end of the file
            per_second = per_second or (length / seconds if seconds > 0 else 0.0)
            return _Audio(at + 16, length - 4, per_second) if length > 4 else None
        if length < 0:
            return None
        at += 12 + length
    return None


def _nist(file: BinaryIO) -> _Audio | None:
    header = read_at(file, 0, 1024)
    fields = dict(re.findall(rb"^(\w+) -\S+ (\S+)", header, re.MULTILINE))
    try:
        count, channels, width, rate_hz = (
            int(fields[name]) for name in (b"sample_count", b"channel_count", b"sample_n_bytes", b"sample_rate")
        )
        start = int(header[8:16])
    except (KeyError, ValueError):
        return None
    if b"shorten" in fields.get(b"sample_coding", b""):
        return None
    return _Audio(start, count * channels * width, rate_hz * channels * width)


def _voc(file: BinaryIO) -> _Audio | None:
    """Return the first block of audio."""
    at = int.from_bytes(read_at(file, 20, 2), "little")
    for _ in range(_MOST_CHUNKS):
        head = read_at(file, at, 16)
        if len(head) < 16:
            return None
        kind, length = head[0], int.from_bytes(head[1:4], "little")
        if kind == 1:
            return _Audio(at + 6, length - 2, 1_000_000 / (256 - head[4]) if head[5] == 0 else 0)
        if kind == 9:
            rate_hz, bits, channels = struct.unpack_from("<IBB", head, 4)
            return _Audio(at + 16, length - 12, rate_hz * bits / 8 * channels)
        if kind in (0, 8):  # the end; a stereo block, whose rate is encoded differently
            return None
        at += 4 + length
    return None


def _avr(file: BinaryIO) -> _Audio | None:
    """Read the header, which has a fixed size; the upper byte of the rate field is not part of the rate."""
    head = read_at(file, 0, 30)
    if len(head) < 30:
        return None
    is_stereo, bits = struct.unpack_from(">HH", head, 12)
    rate_hz, frames = struct.unpack_from(">II", head, 22)
    frame = bits // 8 * (2 if is_stereo else 1)
    return _Audio(128, frames * frame, (rate_hz & 0xFFFFFF) * frame)


def _sds(file: BinaryIO) -> _Audio | None:
    """Read the header. Packets have 127 bytes: 120 for samples, with 7 bits per byte (MIDI Sample Dump Standard)."""
    head = read_at(file, 0, 21)
    if len(head) < 21 or not 8 <= head[6] <= 28:
        return None
    period_ns, frames = (head[at] | head[at + 1] << 7 | head[at + 2] << 14 for at in (7, 10))
    per_packet = 120 // (-(-head[6] // 7))
    rate_hz = 1e9 / period_ns if period_ns else 0
    return _Audio(21, -(-frames // per_packet) * 127, 127 * rate_hz / per_packet, (127, per_packet))


def _xi(file: BinaryIO) -> _Audio | None:
    """Read the header of an instrument with one sample, at 44.1 kHz."""
    head = read_at(file, 296, 42)
    if len(head) < 42 or head[0] != 1:
        return None
    return _Audio(338, int.from_bytes(head[2:6], "little"), 44_100 * (2 if head[16] & 0x10 else 1))


ANNOUNCING = {"caf": _caf, "nist": _nist, "voc": _voc, "avr": _avr, "sds": _sds, "xi": _xi}
