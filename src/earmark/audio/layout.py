"""Where the audio of a recording is, and what its header announces that is not so.

Headers are often wrong: a recorder lost power, a program wrote to a pipe, sizes wrapped at 4 GiB, files were joined
with ``cat``. The modules ``layout_*`` compare the header of a container with the file. The answer is a
:class:`Layout`: the streams that a decoder has to read, one after the other, each as a file of its own with a header
that is right.

A layout is found quickly, from the first and the last bytes, or thoroughly, by searching the whole file. The quick one
is right for every file whose header is; the thorough one is found as soon as something contradicts the quick one.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from earmark.audio.pieces import Extent, Pieces
from earmark.text import agreeing, counted

TRIFLE_S = 0.1  # less than this at the end of a recording is never a reason to refuse it


@dataclass(frozen=True)
class Stream:
    """One stream of a recording.

    Attributes:
        pieces: what makes it a file of its own; ``None`` if that is the file as it is.
        num_frames: its length in frames, if the layout knows it better than its header.
        zeros: bytes to add behind the pieces, so that libsndfile does not estimate too few frames.
        index: bytes of the pieces before every ``step`` frames; decoding may start at each of them.
        step: frames from one entry of ``index`` to the next.
    """

    pieces: tuple[Extent | bytes, ...] | None = None
    num_frames: int | None = None
    zeros: int = 0
    index: tuple[int, ...] = ()
    step: int = 0

    def near(self, start: int) -> tuple[Stream, int] | None:
        """Return the rest of the stream from a little before frame ``start``, and how many frames that leaves out.

        The time to read a window then does not depend on where it is. ``None`` if this is not possible or not needed.
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
        # more zeros than needed do no harm
        zeros = self.zeros + self.index[entry]
        return Stream(tuple(rest), self.num_frames - entry * self.step, zeros), entry * self.step

    def opened(self, file: BinaryIO) -> BinaryIO | int:
        """Return what libsndfile is to read: a file object, or a descriptor, which it reads without the lock."""
        if self.pieces is not None:
            return Pieces(file, self.pieces, self.zeros)  # type: ignore[return-value]
        file.seek(0)
        return file if isinstance(file, io.BytesIO) else file.fileno()


class Layout(NamedTuple):
    """The streams of a recording, to be read one after the other.

    Attributes:
        streams: at least one, unless ``refusal`` says why there is none.
        faults: what is wrong with the recording although it is read, each in a few words.
        refusal: why it cannot be used.
        suspicious: whether a thorough layout is needed.
        end: byte behind the last one that a decoder has to read; 0 if that is not checked.
        read_ahead: bytes before the end that it may leave unread.
    """

    streams: tuple[Stream, ...] = (Stream(),)
    faults: tuple[str, ...] = ()
    refusal: str | None = None
    suspicious: bool = False
    end: int = 0
    read_ahead: int = 16_384  # more than libsndfile reads at once


def missing(announced: float, there: float, per_second: float) -> str | None:
    """Describe what a recording lacks at its end, in bytes or frames; ``None`` if it lacks nothing."""
    if there >= announced:
        return None
    seconds, whole = (announced - there) / per_second, announced / per_second
    if seconds < 0.001:
        return f"less than 1 ms of {whole:.3f} s is missing at the end"
    return f"{seconds:.3f} of {whole:.3f} s are missing at the end"


def cut_short(announced: float, there: float, per_second: float) -> str | None:
    """Say why a recording that lacks more than half of what its header announces is refused; else ``None``."""
    lacking = announced - there
    if lacking <= max(announced / 2, TRIFLE_S * per_second):
        return None
    return f"cut short: the header announces {announced / per_second:.3f} s, {there / per_second:.3f} s are there"


def more_than_announced(announced: float, there: float, per_second: float) -> str:
    """Describe a header that announces less than there is."""
    if not announced:
        return f"the header was never finished (length 0); all {there / per_second:.3f} s are used"
    return f"the header announces {announced / per_second:.3f} s; all {there / per_second:.3f} s are used"


def is_junk(announced: float, there: float, per_second: float) -> bool:
    """Return whether the bytes behind the announced end are too few to be audio: below 0.1 s, or below 1 % and 4 KiB."""
    return 0 < announced < there < announced + max(TRIFLE_S * per_second, min(announced / 100, 4096))


def left_out(length: int, per_second: float) -> str:
    """Describe bytes behind the announced end that are not decoded."""
    ending = f"behind the announced end {agreeing(length, 'are')} left out"
    return f"{counted(length, 'byte')} (as much as {length / per_second:.3f} s) {ending}"


def read_at(file: BinaryIO, start: int, length: int) -> bytes:
    """Return up to ``length`` bytes from ``start``."""
    file.seek(start)
    return file.read(length)


def file_size(file: BinaryIO) -> int:
    """Return the size of an opened file in bytes."""
    return file.seek(0, os.SEEK_END)


def find_all(file: BinaryIO, mark: bytes, start: int, *, block: int = 1 << 20) -> list[int]:
    """Return where ``mark`` is in a file, from ``start`` on."""
    found: list[int] = []
    overlap = len(mark) - 1
    while data := read_at(file, start, block + overlap):
        at = data.find(mark)
        while at >= 0:
            found.append(start + at)
            at = data.find(mark, at + 1)
        if len(data) < block + overlap:
            break
        start += block
    return found
