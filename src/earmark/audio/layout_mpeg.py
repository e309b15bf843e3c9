"""MP3, MP2, MP1: count the frames and check the header that gives their number (Xing, Info, VBRI).

Without such a header, libsndfile estimates the length and stops there. So this module counts the frames, header by
header (ISO 11172-3, section 2.4.1.3), and gives libsndfile a file for which its estimate is not too short.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

from earmark.audio.containers import id3_length
from earmark.audio.layout import Layout, Stream, cut_short, missing, more_than_announced, read_at
from earmark.audio.mpeg_header import Header, parse_header
from earmark.audio.pieces import Extent

_LONGEST = 2881  # bytes of the longest frame
_BLOCK = 1 << 20
_CONFIRMED = 3  # consecutive frames that prove an MPEG stream
_DAMAGE = 64  # at least this many bytes between two frames mean lost audio
_STEP = 256  # frames between positions where decoding may start
_LONGEST_GAP_S = 600.0  # longest damage that is replaced by silence
_MOST_TRIED = 20_000  # header candidates in one search for the next frame
# header candidates: sync bits with a valid version and layer, then a valid bit rate and sampling rate
_HEADER = re.compile(
    b"\xff[%b][%b]"
    % (
        b"".join(b"\\x%02x" % byte for byte in range(0xE0, 0x100) if byte & 0x18 != 0x08 and byte & 6),
        b"".join(b"\\x%02x" % byte for byte in range(256) if byte >> 4 not in (0, 15) and byte & 12 != 12),
    )
)
_DECODER_DELAY = 529  # samples
_FRAMES, _BYTES, _TOC, _QUALITY = 1, 2, 4, 8  # flags of a Xing header


@dataclass
class _Gap:
    """Damage between two frames.

    Attributes:
        frames_before: number of the run's frames before the damage.
        extents_before: number of the run's extents before the damage.
        length: bytes without frames.
    """

    frames_before: int
    extents_before: int
    length: int


@dataclass
class _Run:
    """Consecutive frames of one kind."""

    first: Header
    at: int
    extents: list[list[int]] = field(default_factory=list)  # start and end of parts without gaps
    count: int = 0
    gaps: list[_Gap] = field(default_factory=list)
    num_bytes: int = 0
    index: list[int] = field(default_factory=list)  # byte position of every _STEP-th frame

    def add(self, at: int, length: int) -> None:
        if self.extents and self.extents[-1][1] == at:
            self.extents[-1][1] = at + length
        else:
            self.extents.append([at, at + length])
        if self.count % _STEP == 0:
            self.index.append(self.num_bytes)
        self.count += 1
        self.num_bytes += length


def mpeg_layout(file: BinaryIO, size: int, base: int, head: bytes) -> Layout:
    """Return the layout from the header that counts the frames, if it agrees with the size of the file."""
    first = parse_header(head)
    if first is None:
        return Layout(suspicious=True)
    counted = _counted(head[: first.length], first)
    end = _without_tags(file, size, base)
    if counted is None or not counted.frames or abs(counted.num_bytes - (end - base)) > first.length + 4:
        return Layout(suspicious=True)
    return Layout(end=end, read_ahead=4 * first.length + 64)  # LAME's padding may span several frames


def is_unbroken(file: BinaryIO, layout: Layout, base: int, head: bytes) -> bool:
    """Return whether frames follow one another from the start to the end, as many as the header announces.

    libsndfile skips damage silently, so all audio after it would come too early.
    """
    first = parse_header(head)
    counted = _counted(head[: first.length], first) if first else None
    if first is None or counted is None:
        return False
    lengths: dict[bytes, int] = {}  # by the first three bytes of the header
    at, end, count = base, layout.end, 0
    while at + 4 <= end:
        data, place = read_at(file, at, min(_BLOCK, end - at)), 0
        stop = len(data) - 3
        while place < stop:
            length = lengths.get(data[place : place + 3])
            if length is None:
                header = parse_header(data, place)
                if header is None or header.kind != first.kind:
                    return False
                length = lengths[data[place : place + 3]] = header.length
            place += length
            count += 1
        at += place
    return at == end and count - 1 in (counted.frames, counted.frames - 1)


def thorough_mpeg_layout(file: BinaryIO, size: int, base: int) -> Layout:
    """Return the layout from all frames."""
    runs, rest = _scan(file, base, _without_tags(file, size, base))
    streams: list[Stream] = []
    faults: list[str] = []
    refusal = None
    for run in runs:
        stream, fault, refused = _stream(file, run)
        streams.append(stream)
        faults += fault
        refusal = refusal or (refused if len(runs) == 1 else None)
    if not streams:
        return Layout()
    if len(runs) > 1:
        faults.insert(0, f"{len(runs)} MP3 recordings of different kinds were joined; all are used")
    if rest:
        faults.append("the last frame is incomplete")
    return Layout(tuple(streams), tuple(faults), refusal)


class _Counted(NamedTuple):
    at: int  # position of the tag in the frame
    frames: int
    num_bytes: int
    name: bytes


def _counted(frame: bytes, header: Header) -> _Counted | None:
    """Return the tag with the number of frames and bytes from the first frame; ``None`` if there is none."""
    if header.layer != 3:
        return None
    side = (17 if header.kind[3] else 32) if header.kind[0] == 3 else (9 if header.kind[3] else 17)
    for at in (4 + side, 6 + side):
        name = frame[at : at + 4]
        if name in (b"Xing", b"Info") and len(frame) >= at + 16:
            flags, place, values = frame[at + 7], at + 8, [0, 0]
            for index, flag in enumerate((_FRAMES, _BYTES)):
                if flags & flag:
                    values[index] = int.from_bytes(frame[place : place + 4], "big")
                    place += 4
            return _Counted(at, values[0], values[1], name)
    if frame[36:40] == b"VBRI" and len(frame) >= 54:
        return _Counted(36, int.from_bytes(frame[50:54], "big"), int.from_bytes(frame[46:50], "big"), b"VBRI")
    return None


def _stream(file: BinaryIO, run: _Run) -> tuple[Stream, list[str], str | None]:
    """Return the stream of a run, its faults, and a reason to refuse it."""
    first = run.first
    start = read_at(file, run.at, first.length)
    counted = _counted(start, first)
    silent = _silent_frames(run, counted.frames + 1 if counted else 0)
    pieces, faults = _with_silence(run, start, silent)
    count = run.count + sum(silent)
    num_bytes = sum(piece.length if isinstance(piece, Extent) else len(piece) for piece in pieces)
    if counted is None:
        index = () if run.gaps else tuple(run.index)
        zeros = count * _LONGEST - num_bytes + 4096
        return Stream(tuple(pieces), count * first.samples, zeros, index, _STEP * first.samples), faults, None
    head = run.extents[0]
    pieces[0] = Extent(head[0] + first.length, head[1] - head[0] - first.length)
    there = count - 1
    recounted = _recounted(start, counted, there, num_bytes)
    stream = Stream((recounted, *pieces))
    announced_samples = _decoded_samples(start, counted, counted.frames, first)
    samples_there = _decoded_samples(recounted, counted, there, first)
    in_file = sum(end - begin for begin, end in run.extents) + sum(gap.length for gap in run.gaps)
    # The frame count alone may be wrong. In a truncated recording, the byte count is too large as well.
    is_cut = counted.frames > there and not 0 < counted.num_bytes <= in_file + first.length + 4
    if is_cut and (lacking := missing(announced_samples, samples_there, first.rate_hz)):
        faults.insert(0, lacking)
    elif counted.frames and counted.frames != there:
        faults.insert(0, more_than_announced(announced_samples, samples_there, first.rate_hz))
    return stream, faults, cut_short(announced_samples, samples_there, first.rate_hz) if is_cut else None


def _decoded_samples(frame: bytes, counted: _Counted, frames: int, header: Header) -> int:
    """Return how many samples decoders give for a number of frames, without the encoder's delay and padding.

    Args:
        frame: the first frame, with the tag. After the tag, LAME writes delay and padding, 12 bits each. mpg123, which
            libsndfile uses, also removes the 529 samples of the decoder's own delay for any encoder.
        counted: the tag.
        frames: number of frames after the first.
        header: header of the frames.
    """
    total = frames * header.samples
    place = _behind_counts(frame, counted)
    if counted.name == b"VBRI" or len(frame) < place + 24:
        return total
    delay, padding = divmod(int.from_bytes(frame[place + 21 : place + 24], "big"), 1 << 12)
    end = min(total, total - padding + _DECODER_DELAY)
    return max(0, end - delay - _DECODER_DELAY)


def _behind_counts(frame: bytes, counted: _Counted) -> int:
    """Return where a Xing header ends and the encoder's tag begins."""
    flags = frame[counted.at + 7]
    sizes = {_FRAMES: 4, _BYTES: 4, _TOC: 100, _QUALITY: 4}
    return counted.at + 8 + sum(size for flag, size in sizes.items() if flags & flag)


def _silent_frames(run: _Run, announced: int) -> list[int]:
    """Return the number of silent frames for each gap, from its bytes and, if consistent, the header's frame count.

    Args:
        run: the frames.
        announced: number of frames in the header; 0 if unknown.
    """
    if not run.gaps:
        return []
    mean = sum(end - begin for begin, end in run.extents) / run.count
    numbers = [max(1, round(gap.length / mean)) for gap in run.gaps]
    longest = numbers.index(max(numbers))
    wrong_by = announced - run.count - sum(numbers)
    if announced and abs(wrong_by) <= len(numbers) + sum(numbers) // 4 and numbers[longest] + wrong_by >= 0:
        numbers[longest] += wrong_by
    seconds = run.first.samples / run.first.rate_hz
    return [number if number * seconds <= _LONGEST_GAP_S else 0 for number in numbers]


def _with_silence(run: _Run, head: bytes, silent: list[int]) -> tuple[list[Extent | bytes], list[str]]:
    """Return the pieces of a run with silence in its gaps, and a description of each fault."""
    pieces: list[Extent | bytes] = [Extent(begin, end - begin) for begin, end in run.extents]
    frame, seconds = _silent_frame(head), run.first.samples / run.first.rate_hz
    faults, before = [], 0
    for index, (gap, number) in enumerate(zip(run.gaps, silent, strict=True)):
        at_s = (gap.frames_before + before) * seconds
        if number:
            faults.append(f"about {number * seconds:.3f} s at {at_s:.3f} s are damaged and silent")
        else:
            faults.append(f"{gap.length} bytes at {at_s:.3f} s are damaged and ignored")
        pieces.insert(gap.extents_before + index, frame * number)
        before += number
    return pieces, faults


def _silent_frame(head: bytes) -> bytes:
    """Return a silent frame with the header at the start of ``head``, without checksum and padding."""
    changed = bytes([head[0], head[1] | 1, head[2] & 0xFD, head[3]])
    header = parse_header(changed)
    return changed + bytes(header.length - 4 if header else 0)


def _recounted(frame: bytes, counted: _Counted, frames: int, num_bytes: int) -> bytes:
    """Return the first frame with correct counts. If the frame count was wrong, LAME's end padding is removed."""
    changed, at = bytearray(frame), counted.at
    if counted.name == b"VBRI":
        changed[at + 10 : at + 18] = struct.pack(">II", num_bytes, frames)
        return bytes(changed)
    flags, place = frame[at + 7], at + 8
    for flag, value in ((_FRAMES, frames), (_BYTES, num_bytes)):
        if flags & flag:
            changed[place : place + 4] = struct.pack(">I", value)
            place += 4
    if not flags & _FRAMES:  # a header without a count: libsndfile would estimate the length
        return bytes(_with_count(frame, at, frames))
    place = _behind_counts(frame, counted)
    if (
        counted.frames != frames
        and len(frame) >= place + 24
        and frame[place : place + 4] in (b"LAME", b"Lavf", b"Lavc")
    ):
        changed[place + 22] &= 0xF0
        changed[place + 23] = 0
    return bytes(changed)


def _with_count(frame: bytes, at: int, frames: int) -> bytes:
    return frame[: at + 4] + struct.pack(">II", _FRAMES, frames) + bytes(max(0, len(frame) - at - 12))


def _scan(file: BinaryIO, start: int, end: int) -> tuple[list[_Run], int]:
    """Find all frames. Also return the number of bytes of an incomplete last frame."""
    runs: list[_Run] = []
    lengths: dict[bytes, int] = {}  # by the first three header bytes, for the current run
    at, data, origin = start, b"", start
    while at + 4 <= end:
        if at + 4 > origin + len(data):
            origin, data = at, read_at(file, at, min(_BLOCK, end - at))
        place = at - origin
        length = lengths.get(data[place : place + 3], 0)
        if not length or (data[place + 3] >> 6 == 3) != runs[-1].first.kind[3]:
            header = parse_header(data, place)
            if header is None or not (runs and header.kind == runs[-1].first.kind):
                found = _resync(file, at, end, runs[-1].first.kind if runs else None)
                if found is None:
                    break
                at, header, skipped = found
                if not (runs and header.kind == runs[-1].first.kind):
                    runs.append(_Run(header, at))
                    lengths = {}
                elif skipped >= _DAMAGE:
                    runs[-1].gaps.append(_Gap(runs[-1].count, len(runs[-1].extents), skipped))
                data = b""
            length = lengths[read_at(file, at, 3)] = header.length
        if at + length > end:
            return runs, end - at
        runs[-1].add(at, length)
        at += length
    return runs, 0


def _resync(file: BinaryIO, at: int, end: int, kind: object) -> tuple[int, Header, int] | None:
    """Return where frames continue: position, header, and the number of bytes skipped that are not a tag."""
    while tag := _tag_length(read_at(file, at, 32)):
        at += tag
    skipped = tried = 0
    while at + 4 <= end and tried < _MOST_TRIED:
        data = read_at(file, at, min(_BLOCK, end - at))
        found = _HEADER.search(data)
        while found and tried < _MOST_TRIED:
            if header := _confirmed(file, data, at, found.start(), end, kind):
                return at + found.start(), header, skipped + found.start()
            tried += 1
            found = _HEADER.search(data, found.start() + 1)
        step = max(1, len(data) - 3)
        skipped, at = skipped + step, at + step
    return None


def _confirmed(file: BinaryIO, data: bytes, origin: int, place: int, end: int, kind: object) -> Header | None:
    """Return the header at ``place`` if frames of its kind follow."""
    first = parse_header(data, place)
    if first is None:
        return None
    at, header = origin + place, first
    # If the kind of the frames is already known from the stream, one more header confirms it. A new kind needs several.
    for _ in range(1 if first.kind == kind else _CONFIRMED):
        at += header.length
        if at >= end - 4:
            return first if at <= end else None
        inside = at - origin
        following = parse_header(data, inside) if inside + 4 <= len(data) else parse_header(read_at(file, at, 4))
        if following is None or following.kind != first.kind:
            return None
        header = following
    return first


def _tag_length(data: bytes) -> int:
    """Return the length of an ID3 or APE tag at the start of ``data``."""
    if length := id3_length(data[:10]):
        return length
    if data.startswith(b"APETAGEX") and len(data) >= 32:
        return 32 + int(struct.unpack_from("<I", data, 12)[0])
    return 128 if data.startswith(b"TAG") else 0


def _without_tags(file: BinaryIO, size: int, base: int) -> int:
    """Return where the audio ends: before ID3v1 and APE tags at the end of the file."""
    tail = read_at(file, max(base, size - 160), 160)
    end = size
    if tail[-128:].startswith(b"TAG") and len(tail) >= 128:
        end, tail = end - 128, tail[:-128]
    if tail[-32:].startswith(b"APETAGEX") and len(tail) >= 32:
        length, flags = struct.unpack("<I", tail[-20:-16])[0], struct.unpack("<I", tail[-12:-8])[0]
        end -= length + (32 if flags >> 31 else 0)
    return max(end, base)
