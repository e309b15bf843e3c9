"""CAF, NIST and VOC: whether a recording is as long as its header announces. The decoders read what there is."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import BinaryIO

from earmark.data.layout import Layout, cut_short, missing, read_at

_MOST_CHUNKS = 1000


@dataclass(frozen=True)
class _Audio:
    start: int  # first byte
    announced: int  # bytes
    per_second: float  # bytes


def announced_layout(file: BinaryIO, container: str, size: int) -> Layout:
    """Return the layout of a CAF, NIST or VOC file; headers that cannot be read are left to the decoders."""
    found = {"caf": _caf, "nist": _nist, "voc": _voc}[container](file)
    if found is None or found.per_second <= 0 or found.announced <= 0:
        return Layout()
    there = max(0, size - found.start)
    fault = missing(found.announced, there, found.per_second)
    return Layout(faults=(fault,) if fault else (), refusal=cut_short(found.announced, there, found.per_second))


def _caf(file: BinaryIO) -> _Audio | None:
    """The data chunk of samples of one size; the decoders know the length of compressed ones."""
    at, per_second = 8, 0.0
    for _ in range(_MOST_CHUNKS):
        head = read_at(file, at, 44)
        if len(head) < 12:
            return None
        name, length = head[:4], struct.unpack_from(">q", head, 4)[0]
        if name == b"desc" and len(head) == 44:
            rate_hz, _, _, packet_bytes, packet_frames = struct.unpack_from(">d4sIII", head, 12)
            per_second = rate_hz * packet_bytes / packet_frames if packet_frames and 0 < rate_hz < 1e9 else 0.0
        if name == b"data":  # -1 if it goes on to the end of the file
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
    """The first block of sound."""
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
        if kind in (0, 8):  # the end; a stereo block, whose rate is counted otherwise
            return None
        at += 4 + length
    return None
