"""A file assembled from parts of another file and replacement bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import accumulate
from typing import BinaryIO, NamedTuple

import numpy as np


class Extent(NamedTuple):
    """Part of a file, in bytes."""

    start: int
    length: int


class Pieces(io.RawIOBase):
    """File object that reads extents of another file and bytes, one after the other.

    This lets a decoder read a repaired header or several joined recordings without a copy on the disk.

    Args:
        file: file that contains the extents; its position changes.
        pieces: extents and bytes, in order.
        zeros: number of zero bytes after the last piece.
    """

    def __init__(self, file: BinaryIO, pieces: Sequence[Extent | bytes], zeros: int = 0) -> None:
        super().__init__()
        self._source = file
        self._pieces = [piece for piece in pieces if (piece.length if isinstance(piece, Extent) else len(piece))]
        lengths = [piece.length if isinstance(piece, Extent) else len(piece) for piece in self._pieces]
        self._starts = np.array([0, *accumulate(lengths)])
        self._at = 0
        self._end = int(self._starts[-1])
        self.size = self._end + zeros

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to ``offset`` from the start, the current position or the end. Return the new position."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the start of ``buffer``. Return the number of bytes read; 0 at the end."""
        target = memoryview(buffer).cast("B")
        done = 0
        while done < len(target) and (piece := self._next(len(target) - done)):
            target[done : done + len(piece)] = piece
            done += len(piece)
            self._at += len(piece)
        return done

    def _next(self, most: int) -> bytes:
        """Return up to ``most`` bytes at the position, from one piece."""
        if self._at >= self._end:
            return bytes(max(0, min(most, self.size - self._at)))
        index = int(np.searchsorted(self._starts, self._at, side="right")) - 1
        piece, within = self._pieces[index], self._at - int(self._starts[index])
        if isinstance(piece, bytes):
            return piece[within : within + most]
        self._source.seek(piece.start + within)
        return self._source.read(min(most, piece.length - within))
