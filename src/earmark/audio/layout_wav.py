"""WAV, RF64, W64 (RIFF and related formats): find the audio, even if the size fields are wrong.

Rules for a data chunk that announces S bytes in a file with A bytes after the chunk's header:

- S is 0 or a value used by programs that write to a pipe: everything is audio, except chunks at the end of the file.
- S > A: the file holds A bytes. The recording is refused only if more than half of it is missing.
- S < A: the rest is chunks, tags, zeros, or another WAV file that was appended. If it is none of these and very short,
  it is junk. Otherwise the size is stale or has wrapped at 4 GiB, and everything is audio, except chunks at the end of
  the file.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from earmark.audio.layout import Layout, Stream, cut_short, is_junk, left_out, missing, more_than_announced, read_at
from earmark.audio.layout_mpeg import thorough_mpeg_layout
from earmark.audio.pieces import Extent

STREAMED = 0x7FFFF000  # programs that write to a pipe use such sizes for "unknown"
_TAIL = 1 << 16  # bytes at the end of a file that are searched for chunks
_MOST_CHUNKS = 1000
_MOST_ZEROS = 1 << 28
_TAGS = (b"TAG", b"APETAGEX", b"ID3")
# names of chunks that may follow the audio; a truncated chunk is recognised by its name
_CHUNKS = (
    "LIST INFO bext cue  smpl inst iXML id3  ID3  PEAK fact plst labl note ltxt _PMX axml chna JUNK junk PAD  FLLR "
    "afsp acid DISP levl umid minf elm1 regn LGWV strc cart Fake data guan wamd"
)
_KNOWN = frozenset(_CHUNKS[at : at + 4].encode() for at in range(0, len(_CHUNKS), 5))
_PCM = (1, 3, 6, 7, 0xFFFE)  # format tags: integers, floats, A-law, mu-law, extensible
_RIFF = (b"RIFF", b"RF64", b"RIFX", b"BW64")
_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
_W64_FMT = b"fmt " + _W64_DATA[4:]


@dataclass(frozen=True)
class _Data:
    """A data chunk.

    Attributes:
        fmt: content of the format chunk.
        start: first byte of the audio.
        announced: size in the header, in bytes; ``None`` if the header says that it is unknown.
        big: whether numbers are big endian.
    """

    fmt: bytes
    start: int
    announced: int | None
    big: bool = False

    @property
    def bytes_per_second(self) -> int:
        """Bytes per second of audio. PCM uses rate and frame size, because many programs write a wrong value here."""
        tag, _, rate_hz, field, frame_bytes = struct.unpack_from(">HHIIH" if self.big else "<HHIIH", self.fmt)
        is_pcm = tag in _PCM and rate_hz * frame_bytes > 0
        return int(rate_hz * frame_bytes if is_pcm else field) or 1

    @property
    def is_mpeg(self) -> bool:
        """Whether the audio is MP3 or MP2."""
        tag = self.fmt[24:26] if self.fmt[:2] == b"\xfe\xff" else self.fmt[:2]
        return tag in (b"\x50\0", b"\x55\0") and not self.big


def wav_layout(file: BinaryIO, size: int, base: int = 0) -> Layout:
    """Return the layout of the WAV or W64 file at byte ``base``, and of WAV files appended to it.

    A file whose header cannot be read is left to the decoders, which report the error.
    """
    streams: list[Stream] = []
    faults: dict[str, None] = {}  # an ordered set
    start: int | None = base
    while start is not None:
        layout, start = _one_layout(file, size, start)
        if start is None and not streams:
            return layout
        streams += layout.streams
        faults |= dict.fromkeys(layout.faults)
    number = len(streams)
    return Layout(tuple(streams), (f"{number} WAV files were joined; the header announces only the first", *faults))


def _one_layout(file: BinaryIO, size: int, base: int) -> tuple[Layout, int | None]:
    """Return the layout of one WAV file, and where an appended file starts."""
    head = read_at(file, base, 4096)
    found = _w64_data(file, size, base) if head[:4] == b"riff" else _riff_data(file, head, size, base)
    if found is None or len(found.fmt) < 16:
        return Layout((Stream((Extent(base, size - base),)),)) if base else Layout(), None
    there, announced, per_second = size - found.start, found.announced, found.bytes_per_second
    if announced == there:
        return _as_announced(file, found, there, base), None
    if announced is None:
        return _with_audio(file, found, _without_chunks(file, found.start, size, found.big) - found.start, ()), None
    if announced > there:
        fault = missing(announced, there, per_second)
        layout = _with_audio(file, found, there, (fault,) if fault else ())
        return layout._replace(refusal=cut_short(announced, there, per_second)), None
    if announced and (joined := _joined(file, found.start + announced, size)):
        return _with_audio(file, found, announced, ()), joined
    if announced and _are_no_audio(file, found.start + announced, size, found.big):
        return _as_announced(file, found, announced, base), None
    used = _without_chunks(file, found.start, size, found.big) - found.start
    if not used:
        return Layout(), None
    if is_junk(announced, used, per_second):
        return _with_audio(file, found, announced, (left_out(used - announced, per_second),)), None
    return _with_audio(file, found, used, (more_than_announced(announced, used, per_second),)), None


def _as_announced(file: BinaryIO, found: _Data, length: int, base: int) -> Layout:
    return Layout() if not base and not found.is_mpeg else _with_audio(file, found, length, ())


def _with_audio(file: BinaryIO, found: _Data, length: int, faults: tuple[str, ...]) -> Layout:
    """Return the audio with a corrected header. Of MP3 in WAV, return only the MP3."""
    if found.is_mpeg:
        mpeg = thorough_mpeg_layout(file, found.start + length, found.start)
        if mpeg.streams[0].pieces is not None:
            return mpeg._replace(faults=(*faults, *mpeg.faults))
    return Layout((_stream(found, length),), faults)


def _riff_data(file: BinaryIO, head: bytes, size: int, base: int) -> _Data | None:
    """Find the format chunk and the data chunk."""
    order = ">" if head[:4] == b"RIFX" else "<"
    fmt, long_size = b"", None
    at = 12
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(head):
            head, base, at = read_at(file, base + at, 4096), base + at, 0
            if len(head) < 8:
                return None
        name, length = head[at : at + 4], struct.unpack_from(order + "I", head, at + 4)[0]
        if name == b"data":
            if length == 0xFFFFFFFF and long_size is not None:
                length = long_size
                return _Data(fmt, base + at + 8, length if length < 1 << 62 else None, order == ">")
            is_unknown = length == 0xFFFFFFFF or (length >= STREAMED and length > size)
            return _Data(fmt, base + at + 8, None if is_unknown else length, order == ">")
        if name in (b"fmt ", b"ds64"):
            body = read_at(file, base + at + 8, min(length, 4096))
            if name == b"fmt ":
                fmt = body
            elif len(body) >= 16:
                long_size = struct.unpack_from("<Q", body, 8)[0]
        at += 8 + length + length % 2
    return None


def _w64_data(file: BinaryIO, size: int, base: int) -> _Data | None:
    fmt, at = b"", base + 40
    for _ in range(_MOST_CHUNKS):
        head = read_at(file, at, 24)
        if len(head) < 24:
            return None
        name, length = head[:16], struct.unpack_from("<Q", head, 16)[0]
        if name == _W64_DATA:
            announced = length - 24 if length >= 24 else 0
            return _Data(fmt, at + 24, None if announced >= 1 << 62 else announced)
        if length < 24:
            return None
        if name == _W64_FMT:
            fmt = read_at(file, at + 24, min(length - 24, 4096))
        at += (length + 7) // 8 * 8
    return None


def _stream(found: _Data, length: int) -> Stream:
    big = found.big
    order, fmt = (">" if big else "<"), found.fmt + b"\0" * (len(found.fmt) % 2)
    chunk = b"fmt " + struct.pack(order + "I", len(found.fmt)) + fmt
    if length < STREAMED:
        riff = (b"RIFX" if big else b"RIFF") + struct.pack(order + "I", 4 + len(chunk) + 8 + length) + b"WAVE"
        header = riff + chunk + b"data" + struct.pack(order + "I", length)
    else:
        total = 4 + 36 + len(chunk) + 8 + length
        sizes = b"ds64" + struct.pack("<IQQQI", 28, total, length, 0, 0)
        header = b"RF64\xff\xff\xff\xffWAVE" + sizes + chunk + b"data\xff\xff\xff\xff"
    return Stream((header, Extent(found.start, length)))


def _are_no_audio(file: BinaryIO, start: int, size: int, big: bool) -> bool:
    """Return whether no audio follows the announced end: only chunks, tags, zeros, or a single byte."""
    if size - start <= 1:
        return True
    for at in {start, start + start % 2}:
        if read_at(file, at, 8).startswith(_TAGS) or _chunks_end(file, at, size, big):
            return True
    return _are_zeros(file, start, size)


def _are_zeros(file: BinaryIO, start: int, size: int) -> bool:
    """Return whether only zeros follow, as in a preallocated file. More than 256 MiB count as audio."""
    if size - start > _MOST_ZEROS:
        return False
    length = 256  # usually the first bytes already differ from 0
    while start < size and (block := read_at(file, start, length)):
        if block.count(0) < len(block):
            return False
        start, length = start + len(block), 1 << 20
    return True


def _chunks_end(file: BinaryIO, at: int, size: int, big: bool) -> bool:
    """Return whether a series of chunks fills the file from ``at`` to the end."""
    if read_at(file, at, 4) in _RIFF:
        return False
    for _ in range(_MOST_CHUNKS):
        if at >= size:
            return True
        head = read_at(file, at, 8)
        name = head[:4]
        if name.startswith(_TAGS) or (not any(head) and _are_zeros(file, at, size)):
            return True
        if len(head) < 8 or not all(32 <= byte < 127 for byte in name):
            return False
        length = struct.unpack_from(">I" if big else "<I", head, 4)[0]
        end = at + 8 + length
        if end > size:  # a truncated chunk counts only if its name is known
            return name in _KNOWN
        # some programs leave out the byte that pads a chunk to an even length
        at = end if end == size or (length % 2 and read_at(file, end, 4) in _KNOWN) else end + length % 2
    return False


def _without_chunks(file: BinaryIO, start: int, size: int, big: bool) -> int:
    """Return where audio of unknown size ends: before the chunks at the end of the file."""
    tail_start = max(start, size - _TAIL)
    tail = read_at(file, tail_start, size - tail_start)
    candidates = []
    for name in _KNOWN:
        at = tail.find(name)
        while at >= 0:
            candidates.append(at)
            at = tail.find(name, at + 1)
    for at in sorted(candidates):
        length = struct.unpack_from(">I" if big else "<I", tail, at + 4)[0] if at + 8 <= len(tail) else None
        fits = length is not None and tail_start + at + 8 + length <= size
        if fits and _chunks_end(file, tail_start + at, size, big):
            return tail_start + at
    return size - 128 if tail[-128:].startswith(b"TAG") and len(tail) > 128 else size


def _joined(file: BinaryIO, start: int, size: int) -> int | None:
    """Return where another WAV file starts, if one follows at ``start``."""
    for at in (start, start + start % 2):
        head = read_at(file, at, 12)
        if head[:4] in _RIFF and head[8:] == b"WAVE" and at + 12 < size:
            return at
    return None
