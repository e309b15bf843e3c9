"""Headers of MPEG audio frames (MP3, MP2, MP1) according to ISO 11172-3, section 2.4.1.3."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

_RATES = (44_100, 48_000, 32_000)
_KBITS = {  # by (is MPEG 1, layer)
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


class Header(NamedTuple):
    """The header of an MPEG audio frame.

    Attributes:
        kind: what all frames of a stream have in common: version, layer, rate, whether it is mono.
        length: length of the frame in bytes.
        layer: 1 to 3.
        samples: samples per channel in the frame.
        rate_hz: sampling rate.
    """

    kind: tuple[int, int, int, bool]
    length: int
    layer: int
    samples: int
    rate_hz: int


def parse_header(data: bytes, at: int = 0) -> Header | None:
    """Return the frame header at ``at``; ``None`` if there is none, or if it is "free format"."""
    if data[at : at + 1] != b"\xff":
        return None
    return _parsed(data[at : at + 4])


@lru_cache(4096)  # the frames of recordings have few different headers
def _parsed(head: bytes) -> Header | None:
    if len(head) < 4 or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bitrate, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3 or head[3] & 3 == 2:
        return None
    is_one = version == 3
    rate_hz = _RATES[rate] // (1 if is_one else 2 if version == 2 else 4)
    bits = 1000 * _KBITS[is_one, layer][bitrate - 1]
    if layer == 1:
        length, samples = (12 * bits // rate_hz + padding) * 4, 384
    else:
        samples = 576 if layer == 3 and not is_one else 1152
        length = samples // 8 * bits // rate_hz + padding
    return Header((version, layer, rate, head[3] >> 6 == 3), length, layer, samples, rate_hz)


def has_frames(data: bytes) -> bool:
    """Return whether ``data`` has MPEG audio frames: three of one kind in a row, or fewer if ``data`` ends earlier."""
    at = data.find(b"\xff")
    while at >= 0:
        if (first := parse_header(data, at)) and _goes_on(data, at + first.length, first):
            return True
        at = data.find(b"\xff", at + 1)
    return False


def _goes_on(data: bytes, at: int, first: Header) -> bool:
    for _ in range(2):
        following = parse_header(data, at)
        if following is None or following.kind != first.kind:
            return at == len(data)
        at += following.length
    return True


def is_adts(data: bytes) -> bool:
    """Return whether ``data`` starts with the header of an AAC frame (ADTS, ISO 13818-7, section 6.2)."""
    if len(data) < 7 or data[0] != 0xFF or data[1] & 0xF6 != 0xF0:
        return False
    rate, length = data[2] >> 2 & 15, (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5
    return rate < 13 and length > 7
