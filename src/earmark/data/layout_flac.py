"""FLAC: how many samples there are, by the numbers that the frames carry, and where joined files begin.

Frames are as in RFC 9639, section 9: each header has the number of the frame or of its first sample, and two checksums.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from earmark.data.layout import Layout, Stream, cut_short, find_all, missing, more_than_announced, read_at
from earmark.data.pieces import Extent

# Bytes read at the end besides the longest frame: tags, and the start of a second file that is so short that libFLAC,
# which reads 8,192 bytes at a time, has read it together with the first.
_TAIL = 9000
_LONGEST_FRAME = 1 << 16
_SMALL = 1 << 18  # bytes of a file that is searched as a whole
_PROBES = 12  # places in a larger one
_SYNC = (b"\xf8", b"\xf9")  # behind 0xFF: frames of a fixed, and of a variable number of samples


def _table(polynomial: int, bits: int) -> list[int]:
    top, mask = 1 << (bits - 1), (1 << bits) - 1
    table = []
    for byte in range(256):
        value = byte << (bits - 8)
        for _ in range(8):
            value = ((value << 1) ^ polynomial if value & top else value << 1) & mask
        table.append(value)
    return table


_CRC8, _CRC16 = _table(0x07, 8), _table(0x8005, 16)


@dataclass(frozen=True)
class StreamInfo:
    """What the first metadata block of a FLAC file says.

    Attributes:
        block: frames of audio in each FLAC frame, if that is fixed.
        longest: bytes of the longest FLAC frame.
        rate_hz: sampling rate.
        total: frames of audio; 0 if that was not known.
    """

    block: int
    longest: int
    rate_hz: int
    total: int


@dataclass(frozen=True)
class _Frame:
    at: int  # byte in the buffer
    start: int  # first sample
    end: int  # sample behind the last one


def stream_info(data: bytes) -> StreamInfo | None:
    """Read the metadata block STREAMINFO of a FLAC file, of which ``data`` is the start."""
    if len(data) < 42 or data[:4] != b"fLaC" or data[4] & 0x7F or data[5:8] != b"\0\0\x22":
        return None
    packed = int.from_bytes(data[18:26], "big")
    longest = int.from_bytes(data[15:18], "big") or _LONGEST_FRAME
    return StreamInfo(int.from_bytes(data[10:12], "big"), longest, packed >> 44, packed & ((1 << 36) - 1))


def flac_layout(file: BinaryIO, size: int, base: int, head: bytes) -> Layout:
    """Return the layout by the first and the last bytes.

    Args:
        file: the recording.
        size: its bytes.
        base: where it starts, behind tags.
        head: its bytes from there, at least 42.
    """
    info = stream_info(head)
    if info is None:
        return Layout(suspicious=True)
    start = max(base + 42, size - info.longest - _TAIL)
    tail = read_at(file, start, size - start)
    at = tail.rfind(b"\xff\xf8")
    last = (_frame(tail, at, info) if at >= 0 else None) or _last_frame(tail, info)
    honest = last is not None and last.end == info.total and tail.rfind(b"fLaC") < 0 and not base
    return Layout(suspicious=not honest, end=size, read_ahead=_TAIL)


def is_one_file(file: BinaryIO, size: int, base: int, head: bytes) -> bool:
    """Whether this is a single FLAC file, so that seeking in it leads to the right frame.

    In files that were joined, libFLAC finds frames of the wrong one. In a small file another start is looked for; in a
    large one the numbers of a few frames have to increase.
    """
    info = stream_info(head)
    if info is None or size - base <= _SMALL:
        return info is None or not find_all(file, b"fLaC", base + 4)
    last = -1
    for part in range(1, _PROBES):
        data = read_at(file, base + (size - base) * part // _PROBES, info.longest + 16)
        frame = _first_frame(data, info)
        if frame is not None:
            if frame.start <= last:
                return False
            last = frame.start
    return True


def thorough_flac_layout(file: BinaryIO, size: int, base: int) -> Layout:
    """Return the layout by all files that were joined; the length of each is that of its frames."""
    starts = [at for at in find_all(file, b"fLaC", base) if stream_info(read_at(file, at, 42))]
    if not starts:
        return Layout()
    streams: list[Stream] = []
    faults: list[str] = []
    refusal = None
    for start, end in zip(starts, [*starts[1:], size], strict=True):
        info = stream_info(read_at(file, start, 42))
        assert info is not None
        stream, fault, refused = _part(file, start, end, info)
        streams.append(stream)
        faults += [fault] if fault else []
        refusal = refusal or (refused if len(starts) == 1 else None)
    if len(streams) > 1:
        faults.insert(0, f"{len(streams)} FLAC files were joined; the header announces only the first; all are used")
    return Layout(tuple(streams), tuple(faults), refusal)


def _part(file: BinaryIO, start: int, end: int, info: StreamInfo) -> tuple[Stream, str | None, str | None]:
    """One FLAC file from ``start`` to ``end``: with the right total, what is wrong with it, whether to refuse it."""
    tail_start = max(start + 42, end - info.longest - _TAIL)
    tail = _without_tags(read_at(file, tail_start, end - tail_start))
    last = _last_frame(tail, info)
    if last is None:  # damaged: reading finds out where
        return Stream((Extent(start, end - start),)), None, None
    is_whole = _crc16(tail[last.at :]) == 0
    there = last.end if is_whole else last.start
    stop = tail_start + (len(tail) if is_whole else last.at)
    head = bytearray(read_at(file, start, 42))
    packed = int.from_bytes(head[18:26], "big") & ~((1 << 36) - 1) | there
    head[18:26] = packed.to_bytes(8, "big")
    head[26:42] = bytes(16)  # the checksum of all samples
    stream = Stream((bytes(head), Extent(start + 42, stop - start - 42)), there)
    if 0 < info.total < there:
        return stream, more_than_announced(info.total, there, info.rate_hz), None
    refusal = None if is_whole else cut_short(info.total, there, info.rate_hz)
    broken = None if is_whole else f"the last frame (from {there / info.rate_hz:.3f} s on) is incomplete"
    return stream, missing(info.total, there, info.rate_hz) or broken, refusal


def _first_frame(data: bytes, info: StreamInfo) -> _Frame | None:
    """The first FLAC frame that starts in ``data``."""
    at = data.find(b"\xff")
    while at >= 0:
        if data[at + 1 : at + 2] in _SYNC and (frame := _frame(data, at, info)):
            return frame
        at = data.find(b"\xff", at + 1)
    return None


def _last_frame(data: bytes, info: StreamInfo) -> _Frame | None:
    """The last FLAC frame that starts in ``data``."""
    fixed, variable = data.rfind(b"\xff\xf8"), data.rfind(b"\xff\xf9")
    while (at := max(fixed, variable)) >= 0:
        if frame := _frame(data, at, info):
            return frame
        if at == fixed:
            fixed = data.rfind(b"\xff\xf8", 0, at)
        else:
            variable = data.rfind(b"\xff\xf9", 0, at)
    return None


def _frame(data: bytes, at: int, info: StreamInfo) -> _Frame | None:
    """The FLAC frame whose header is at ``at``, if there is one."""
    head = data[at : at + 16]
    if len(head) < 6 or head[2] >> 4 == 0 or head[2] & 15 == 15 or head[3] >> 4 > 10 or head[3] & 1:
        return None
    number, place = _coded_number(head)
    if place == 0 or place + 5 > len(head) + 4:
        return None
    size_code, rate_code = head[2] >> 4, head[2] & 15
    extra = {6: 1, 7: 2}.get(size_code, 0)
    block = int.from_bytes(head[place : place + extra], "big") + 1 if extra else _block_size(size_code)
    place += extra + (1 if rate_code == 12 else 2 if rate_code in (13, 14) else 0)
    if place >= len(head) or _crc8(head[:place]) != head[place]:
        return None
    start = number if head[1] & 1 else number * info.block
    return _Frame(at, start, start + block)


def _coded_number(head: bytes) -> tuple[int, int]:
    """The number in UTF-8's code at byte 4, and the byte behind it; 0 if there is none."""
    first = head[4]
    if first < 0x80:
        return first, 5
    length = 8 - (first ^ 0xFF).bit_length()
    if not 2 <= length <= 7 or len(head) < 4 + length:
        return 0, 0
    number = first & (0x7F >> length)
    for byte in head[5 : 4 + length]:
        number = number << 6 | (byte & 0x3F)
    return number, 4 + length


def _block_size(code: int) -> int:
    if code == 1:
        return 192
    return 576 << (code - 2) if code < 6 else 256 << (code - 8)


def _crc8(data: bytes) -> int:
    value = 0
    for byte in data:
        value = _CRC8[value ^ byte]
    return value


def _crc16(data: bytes) -> int:
    value = 0
    for byte in data:
        value = (value << 8 & 0xFFFF) ^ _CRC16[value >> 8 ^ byte]
    return value


def _without_tags(data: bytes) -> bytes:
    """The end of a FLAC file without tags and zeros behind it."""
    data = data.rstrip(b"\0") if data.endswith(bytes(64)) else data
    if data[-128:].startswith(b"TAG"):
        data = data[:-128]
    if data[-32:].startswith(b"APETAGEX") and len(data) > 32:
        length, flags = struct.unpack("<I", data[-20:-16])[0], struct.unpack("<I", data[-12:-8])[0]
        data = data[: -(length + (32 if flags >> 31 else 0))]
    return data
