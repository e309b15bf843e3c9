"""Where the audio is in a recording, and where its header is wrong.

Headers are often wrong: a recorder lost power, a program wrote to a pipe, sizes wrapped at 4 GiB, files were joined
with ``cat``. The modules ``layout_*`` compare a container's header with the file and return a :class:`Layout`: the
streams that a decoder has to read, one after the other, each presented as a separate file with a correct header.

The quick layout reads the first and the last bytes only, so it is correct only if the header is. The thorough layout
searches the whole file; it is used if the file contradicts the quick layout.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from earmark.audio.pieces import Extent, Pieces
from earmark.text import agreeing, counted

TRIFLE_S = 0.1  # a smaller difference between the header and the end of the file is tolerated


@dataclass(frozen=True)
class Stream:
    """One stream of a recording.

    Attributes:
        pieces: parts that form its separate file; ``None`` if the file can be used unchanged.
        num_frames: length in frames, if the layout knows it better than the header.
        zeros: zero bytes to append, so that libsndfile does not estimate too few frames.
        index: byte position in the pieces of every ``step``-th frame; decoding may start at any of them.
        step: number of frames between entries of ``index``.
    """

    pieces: tuple[Extent | bytes, ...] | None = None
    num_frames: int | None = None
    zeros: int = 0
    index: tuple[int, ...] = ()
    step: int = 0

    def near(self, start: int) -> tuple[Stream, int] | None:
        """Return the part of the stream that starts shortly before frame ``start``, and the number of frames skipped.

        Reading a window then takes the same time at any position. Return ``None`` if this is impossible or unnecessary.
        """
        entry = min(start // self.step, len(self.index)) - 1 if self.step else 0
        if entry < 1 or self.pieces is None or self.num_frames is None:
            return None
        left_out, rest = self.index[entry], []
        for piece in self.pieces:
            assert isinstance(piece, Extent)
            skipped = min(left_out, piece.length)
            left_out -= skipped
            rest += [Extent(piece.start + skipped, piece.length - skipped)] if skipped < piece.length else []
        # too many zeros do no harm
        zeros = self.zeros + self.index[entry]
        return Stream(tuple(rest), self.num_frames - entry * self.step, zeros), entry * self.step

    def opened(self, file: BinaryIO) -> BinaryIO | int:
        """Return an object for libsndfile to read: a file, or a descriptor, which it reads without holding the GIL."""
        if self.pieces is not None:
            return Pieces(file, self.pieces, self.zeros)  # type: ignore[return-value]
        file.seek(0)
        return file if isinstance(file, io.BytesIO) else file.fileno()


class Layout(NamedTuple):
    """The streams of a recording, to be read one after the other.

    Attributes:
        streams: the streams; empty only if ``refusal`` is set.
        faults: problems of a recording that can still be read, each in a few words.
        refusal: why the recording cannot be used.
        suspicious: whether a thorough layout is needed.
        end: byte after the last one that a decoder has to read; 0 if this is not checked.
        read_ahead: number of bytes before the end that a decoder may leave unread.
    """

    streams: tuple[Stream, ...] = (Stream(),)
    faults: tuple[str, ...] = ()
    refusal: str | None = None
    suspicious: bool = False
    end: int = 0
    read_ahead: int = 16_384  # more than libsndfile reads in one call


def missing(announced: float, there: float, per_second: float) -> str | None:
    """Describe how much is missing at the end, given bytes or frames; ``None`` if nothing is."""
    if there >= announced:
        return None
    seconds, whole = (announced - there) / per_second, announced / per_second
    if seconds < 0.001:
        return f"less than 1 ms of {whole:.3f} s is missing at the end"
    return f"{seconds:.3f} of {whole:.3f} s are missing at the end"


def cut_short(announced: float, there: float, per_second: float) -> str | None:
    """Return the reason to refuse a recording that lacks more than half of its announced length; else ``None``."""
    lacking = announced - there
    if lacking <= max(announced / 2, TRIFLE_S * per_second):
        return None
    whole_s, there_s = announced / per_second, there / per_second
    return f"cut short: the header announces {whole_s:.3f} s, but the file holds {there_s:.3f} s"


def more_than_announced(announced: float, there: float, per_second: float) -> str:
    """Describe a header that announces less audio than the file holds."""
    if not announced:
        return f"the header was never finished (length 0); all {there / per_second:.3f} s are used"
    return f"the header announces {announced / per_second:.3f} s; all {there / per_second:.3f} s are used"


def is_junk(announced: float, there: float, per_second: float) -> bool:
    """Return whether the bytes after the announced end are too few to be audio.

    They are too few if they are less than 0.1 s, or less than both 4 KiB and 1 % of the announced bytes.
    """
    return 0 < announced < there < announced + max(TRIFLE_S * per_second, min(announced / 100, 4096))


def left_out(length: int, per_second: float) -> str:
    """Describe bytes after the announced end that are not decoded."""
    ending = f"after the announced end {agreeing(length, 'are')} ignored"
    return f"{counted(length, 'byte')} ({length / per_second:.3f} s) {ending}"


def read_at(file: BinaryIO, start: int, length: int) -> bytes:
    """Return up to ``length`` bytes from ``start``."""
    file.seek(start)
    return file.read(length)


def file_size(file: BinaryIO) -> int:
    """Return the size of an open file in bytes."""
    return file.seek(0, os.SEEK_END)


def find_all(file: BinaryIO, mark: bytes, start: int) -> list[int]:
    """Return all positions of ``mark`` in a file from ``start``."""
    found: list[int] = []
    block, overlap = 1 << 20, len(mark) - 1
    while data := read_at(file, start, block + overlap):
        at = data.find(mark)
        while at >= 0:
            found.append(start + at)
            at = data.find(mark, at + 1)
        if len(data) < block + overlap:
            break
        start += block
    return found
