"""Ogg: find where joined (chained) streams begin, and whether the last page is complete. Pages follow RFC 3533."""

from __future__ import annotations

import struct
from typing import BinaryIO

from earmark.audio.layout import Layout, Stream, file_size, find_all, read_at
from earmark.audio.layout_flac import stream_info
from earmark.audio.pieces import Extent

_FIRST = b"OggS\0\x02"  # a page that begins a stream
_LONGEST_PAGE = 70_000


def ogg_layout(file: BinaryIO, size: int, base: int, head: bytes) -> Layout:
    """Return the quick layout, from the last bytes."""
    start = max(base + 1, size - _LONGEST_PAGE)
    tail = read_at(file, start, size - start)
    at, is_whole = _last_page(tail)
    # a different serial number means a different stream
    if base or _FIRST in tail or not is_whole or tail[at + 14 : at + 18] != head[14:18]:
        return Layout(suspicious=True)
    return Layout(end=size)


def thorough_ogg_layout(file: BinaryIO, size: int, base: int) -> Layout:
    """Return the layout of all joined streams."""
    starts = []
    behind = -1  # end of the last page that began a stream: multiplexed streams begin together
    for at in find_all(file, _FIRST, base):
        if at != behind:
            starts.append(at)
        behind = at + _page_length(read_at(file, at, 282))
    if not starts:
        return Layout()
    faults = []
    if len(starts) > 1:
        faults.append(f"{len(starts)} Ogg streams were joined (chained); all are used")
    tail_start = max(starts[-1], size - _LONGEST_PAGE)
    tail = read_at(file, tail_start, size - tail_start)
    at, is_whole = _last_page(tail)
    if not is_whole:
        faults.append(_broken_page(tail, at, _rate_hz(read_at(file, starts[-1], 100))))
    if len(starts) == 1 and not base:
        return Layout(faults=tuple(faults))
    ends = [*starts[1:], size]
    streams = tuple(Stream((Extent(start, end - start),)) for start, end in zip(starts, ends, strict=True))
    return Layout(streams, tuple(faults))


def lost_at_start_s(file: BinaryIO, size: int, frames: int, rate_hz: int) -> float:
    """Return how many seconds are missing at the start of a stream of this length because pages are damaged.

    A stream may start at any position up to the end of its own first page with audio.
    """
    head, tail_start = read_at(file, 0, 1 << 17), max(0, size - _LONGEST_PAGE)
    counted_hz = _rate_hz(head)
    first, at = 0, 0
    while counted_hz and first <= 0 and (length := _page_length(head[at : at + 282])) and at + 14 < len(head):
        first, at = struct.unpack_from("<q", head, at + 6)[0], at + length
    tail = read_at(file, tail_start, size - tail_start)
    place, is_whole = _last_page(tail)
    if first <= 0 or not is_whole:
        return 0.0
    start_s = struct.unpack_from("<q", tail, place + 6)[0] / counted_hz - frames / rate_hz
    return start_s if start_s >= first / counted_hz else 0.0


def end_s(file: BinaryIO) -> float:
    """Return the time in seconds at which the last page ends according to its header; 0 if unknown."""
    size = file_size(file)
    tail_start = max(0, size - _LONGEST_PAGE)
    tail = read_at(file, tail_start, size - tail_start)
    at, is_whole = _last_page(tail)
    rate_hz = _rate_hz(read_at(file, 0, 100))
    return max(0, struct.unpack_from("<q", tail, at + 6)[0]) / rate_hz if is_whole and rate_hz else 0.0


def _page_length(head: bytes) -> int:
    """Return the length of the page that starts with ``head``: 27 header bytes, segment lengths and segments."""
    if len(head) < 27 or len(head) < 27 + head[26]:
        return 0
    return 27 + head[26] + sum(head[27 : 27 + head[26]])


def _last_page(tail: bytes) -> tuple[int, bool]:
    """Return where the last page starts in the end of a file, and whether it is complete."""
    at = tail.rfind(b"OggS")
    length = _page_length(tail[at : at + 282]) if at >= 0 else 0
    return at, at >= 0 and 0 < length <= len(tail) - at


def _broken_page(tail: bytes, at: int, rate_hz: int) -> str:
    """Describe an incomplete last page, from the end positions of this page and the one before."""
    before = tail.rfind(b"OggS", 0, max(at, 0))
    positions = [
        struct.unpack_from("<q", tail, place + 6)[0] if place >= 0 and place + 14 <= len(tail) else -1
        for place in (before, at)
    ]
    if rate_hz and 0 <= positions[0] < positions[1]:
        seconds = (positions[1] - positions[0]) / rate_hz
        return f"the last page is incomplete: at least {seconds:.3f} s are missing at the end"
    return "the last page is incomplete: at least part of a second is missing at the end"


def _rate_hz(page: bytes) -> int:
    """Return the rate of the page positions; 0 if unknown."""
    packet = page[27 + page[26] :] if len(page) > 27 else b""
    if packet.startswith(b"\x01vorbis") and len(packet) >= 16:
        return int(struct.unpack_from("<I", packet, 12)[0])
    if packet.startswith(b"\x7fFLAC") and (info := stream_info(packet[9:])):
        return info.rate_hz
    return 48_000 if packet.startswith(b"OpusHead") else 0
