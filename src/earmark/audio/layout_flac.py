"""FLAC: count the samples from the numbers in the frames, and find where joined files begin.

Frames follow RFC 9639, section 9: each header has the number of the frame or of its first sample, and two checksums.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, NamedTuple

from earmark.audio.layout import Layout, Stream, cut_short, find_all, missing, more_than_announced, read_at
from earmark.audio.pieces import Extent

# libFLAC reads 8,192 bytes at a time. If a second file was appended, either libFLAC does not reach the end of the file,
# or the second file is so short that it starts within the last 8,192 bytes.
_READ_AT_ONCE = 8192
_TAIL = 9000  # maximum bytes of tags after the last frame, in a thorough search
_SHORT_TAIL = 1024  # maximum in a quick search; a file with longer tags gets a thorough search
_LONGEST_FRAME = 1 << 16
_SMALL = 1 << 18  # files of at most this many bytes are searched completely
_MOST_STARTS = 16  # possible frame headers at the end of a file that are tried before checksums are computed
_PROBES = 12  # positions checked in a larger file
_MOST_CHECKED = 1 << 20  # bytes checksummed to find the last frame
# Codes in frame headers. With other codes, the value is in the file's header or follows in the frame header.
_RATES = {
    1: 88_200, 2: 176_400, 3: 192_000, 4: 8000, 5: 16_000, 6: 22_050, 7: 24_000, 8: 32_000, 9: 44_100, 10: 48_000,
    11: 96_000,
}  # fmt: skip
_BITS = {1: 8, 2: 12, 4: 16, 5: 20, 6: 24, 7: 32}
_STREAM_INFO = struct.Struct(">HHIQ")  # largest block; lengths of frames; rate, channels, bits and number of samples
_SYNC = (b"\xf8", b"\xf9")  # after 0xFF: frames with a fixed or a variable number of samples


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


class StreamInfo(NamedTuple):
    """The content of STREAMINFO, the first metadata block of a FLAC file.

    Attributes:
        block: audio frames per FLAC frame, if fixed.
        longest: bytes of the longest FLAC frame.
        rate_hz: sampling rate.
        total: number of audio frames; 0 if unknown.
        channels: number of channels.
        bits: bits per sample.
    """

    block: int
    longest: int
    rate_hz: int
    total: int
    channels: int
    bits: int


class _Frame(NamedTuple):
    at: int  # byte in the buffer
    start: int  # first sample
    end: int  # sample after the last one


def stream_info(data: bytes) -> StreamInfo | None:
    """Read the metadata block STREAMINFO from ``data``, the start of a FLAC file."""
    if len(data) < 42 or data[:4] != b"fLaC" or data[4] & 0x7F or data[5:8] != b"\0\0\x22":
        return None
    block, _, longest, packed = _STREAM_INFO.unpack_from(data, 10)
    longest = longest & 0xFFFFFF or _LONGEST_FRAME
    total = packed & ((1 << 36) - 1)
    return StreamInfo(block, longest, packed >> 44, total, (packed >> 41 & 7) + 1, (packed >> 36 & 31) + 1)


def flac_layout(file: BinaryIO, size: int, base: int, head: bytes) -> Layout:
    """Return the quick layout, from the first and the last bytes.

    Args:
        file: the recording.
        size: size of the file in bytes.
        base: byte where the recording starts, after tags.
        head: the first bytes of the recording, at least 42.
    """
    info = stream_info(head)
    if info is None:
        return Layout(suspicious=True)
    start = max(base + 42, size - max(info.longest + _SHORT_TAIL, _READ_AT_ONCE))
    tail = read_at(file, start, size - start)
    at, last = len(tail), None
    for _ in range(_MOST_STARTS):  # bytes inside a frame may look like the start of another frame
        at = tail.rfind(b"\xff\xf8", 0, at)
        if at < 0 or (last := _frame(tail, at, info)) is not None:
            break
    if last is None or last.end != info.total:
        last, _ = _last_frame(_without_tags(tail), info)
    is_one = tail.find(b"fLaC", max(0, len(tail) - _READ_AT_ONCE)) < 0
    honest = last is not None and last.end == info.total and is_one and not base
    return Layout(suspicious=not honest, end=size, read_ahead=0)


def is_one_file(file: BinaryIO, layout: Layout, base: int, head: bytes) -> bool:
    """Return whether this is a single FLAC file, so that a seek finds the right frame.

    In joined files, libFLAC may find a frame of the wrong file. A small file is searched for another start; in a large
    one, the numbers of a few frames must increase.
    """
    info, size = stream_info(head), layout.end
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
    """Return the layout of all joined files. The length of each comes from its frames."""
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
    """Return one FLAC file from ``start`` to ``end`` with its correct length, its fault, and a reason to refuse it."""
    tail_start = max(start + 42, end - info.longest - _TAIL)
    tail = _without_tags(read_at(file, tail_start, end - tail_start))
    last, is_whole = _last_frame(tail, info, _first_sync(file, start))
    if last is None:  # damaged; the decoder will find where
        return Stream((Extent(start, end - start),)), None, None
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
    """Return the first FLAC frame that starts in ``data``."""
    at = data.find(b"\xff")
    while at >= 0:
        if data[at + 1 : at + 2] in _SYNC and (frame := _frame(data, at, info)):
            return frame
        at = data.find(b"\xff", at + 1)
    return None


def _last_frame(data: bytes, info: StreamInfo, sync: bytes = b"") -> tuple[_Frame | None, bool]:
    """Return the last FLAC frame that starts in ``data``, and whether it is complete.

    Bytes inside a frame may look like another header. So this returns the last header whose frame, up to the end of
    ``data``, has the right checksum. If there is none, it returns the last header, whose frame is incomplete.

    Args:
        data: the end of a file, without tags.
        info: stream info of the file.
        sync: second byte of the file's frames; empty if unknown.
    """
    incomplete, checked, at = None, 0, len(data)
    while checked < _MOST_CHECKED and (at := data.rfind(b"\xff", 0, at)) >= 0:
        if data[at + 1 : at + 2] not in _SYNC or not (frame := _frame(data, at, info)):
            continue
        if _crc16(data[at:]) == 0:
            return frame, True
        checked += len(data) - at
        if incomplete is None and data[at + 1 : at + 2] in (sync or _SYNC):
            incomplete = frame
    return incomplete, False


def _first_sync(file: BinaryIO, start: int) -> bytes:
    """Return the second byte of the first FLAC frame after the metadata; empty if there is none."""
    at, is_last = start + 4, False
    while not is_last and len(head := read_at(file, at, 4)) == 4:
        is_last, at = head[0] >= 0x80, at + 4 + int.from_bytes(head[1:], "big")
    found = read_at(file, at, 2)
    return found[1:] if found[:1] == b"\xff" and found[1:] in _SYNC else b""


def _frame(data: bytes, at: int, info: StreamInfo) -> _Frame | None:
    """Return the FLAC frame whose header is at ``at``; ``None`` if there is none."""
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
    if place >= len(head) or _crc8(head[:place]) != head[place] or not _fits(head, block, info):
        return None
    start = number if head[1] & 1 else number * info.block
    return _Frame(at, start, start + block)


def _fits(head: bytes, block: int, info: StreamInfo) -> bool:
    """Return whether a frame header agrees with the file's header: length, rate, channels, bits."""
    rate_hz, bits = _RATES.get(head[2] & 15, info.rate_hz), _BITS.get(head[3] >> 1 & 7, info.bits)
    channels = (head[3] >> 4) + 1 if head[3] >> 4 < 8 else 2
    return block <= (info.block or block) and (rate_hz, bits, channels) == (info.rate_hz, info.bits, info.channels)


def _coded_number(head: bytes) -> tuple[int, int]:
    """Return the number at byte 4, encoded as in UTF-8, and the position after it; two zeros if it is invalid."""
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
    """Return the end of a FLAC file without trailing tags and zeros."""
    if data[-128:].startswith(b"TAG"):
        data = data[:-128]
    elif data.endswith(bytes(64)):
        data = data.rstrip(b"\0")
    if data[-32:].startswith(b"APETAGEX") and len(data) > 32:
        length, flags = struct.unpack("<I", data[-20:-16])[0], struct.unpack("<I", data[-12:-8])[0]
        data = data[: -(length + (32 if flags >> 31 else 0))]
    return data
