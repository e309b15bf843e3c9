"""Rows of numbers in one file that many processes read. Rows may have different lengths.

Rows are read with ``preadv``, not through a memory map. The page cache is shared either way, but the resident memory of
a process does not grow, and a file truncated during use raises an error, while a memory map would kill the process with
SIGBUS. Windows has no ``preadv``, so a lock keeps the threads of a process from moving the file position between seek
and read.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from earmark.errors import DataError

_BINARY = getattr(os, "O_BINARY", 0)  # otherwise Windows translates line endings
_position = threading.Lock()


def _seek_and_read(descriptor: int, buffers: Sequence[memoryview], place: int) -> int:
    with _position:
        os.lseek(descriptor, place, os.SEEK_SET)
        got = os.read(descriptor, len(buffers[0]))
    buffers[0][: len(got)] = got
    return len(got)


def _seek_and_write(descriptor: int, numbers: memoryview, place: int) -> int:
    with _position:
        os.lseek(descriptor, place, os.SEEK_SET)
        return os.write(descriptor, numbers)


_read_at: Callable[[int, Sequence[memoryview], int], int] = getattr(os, "preadv", _seek_and_read)
_write_at: Callable[[int, memoryview, int], int] = getattr(os, "pwrite", _seek_and_write)


class FlatFile:
    """A file of N rows. Can be pickled; each process opens it on first use.

    Attributes:
        path: the file.
        dtype: NumPy name of the numbers' type.
        lengths: numbers in each row, int64 (N,).
        offsets: start of each row, counted in numbers, int64 (N,).
        num_bytes: size that the file must have when it is read; ``None`` if unknown.
    """

    def __init__(
        self,
        path: Path,
        dtype: str,
        lengths: np.ndarray,
        *,
        offsets: np.ndarray | None = None,
        num_bytes: int | None = None,
    ) -> None:
        self.path = path
        self.dtype = dtype
        self.lengths = lengths
        self.num_bytes = num_bytes
        self.offsets = np.cumsum(lengths) - lengths if offsets is None else offsets
        self._descriptor: int | None = None
        self._finalizer: weakref.finalize | None = None

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_descriptor": None, "_finalizer": None}

    def __len__(self) -> int:
        return len(self.lengths)

    def read_batch(
        self, indices: Sequence[int] | np.ndarray, starts: np.ndarray, counts: np.ndarray, width: int
    ) -> np.ndarray:
        """Read parts of B rows into one array.

        Args:
            indices: rows, (B,).
            starts: first number of each part, int (B,).
            counts: numbers in each part, int (B,), at most ``width``.
            width: numbers per row of the result.

        Returns:
            ``(B, width)`` of type ``dtype``, padded with zeros.

        Raises:
            DataError: the file was truncated or deleted, or cannot be read.
        """
        rows = np.asarray(indices, dtype=np.int64)
        inside = (starts >= 0) & (counts >= 0) & (counts <= width) & (starts + counts <= self.lengths[rows])
        assert inside.all(), "a part is outside its row or wider than the batch"
        descriptor = self._opened(os.O_RDONLY)
        batch = np.empty((len(rows), width), dtype=self.dtype)
        for row in np.flatnonzero(counts < width).tolist():
            batch[row, int(counts[row]) :] = 0
        item = batch.itemsize
        memory = batch.reshape(-1).view(np.uint8).data
        places = ((self.offsets[rows] + starts) * item).tolist()
        firsts = range(0, batch.nbytes, max(1, width * item))
        try:
            for first, place, size in zip(firsts, places, (counts * item).tolist(), strict=False):
                target = memory[first : first + size]
                if _read_at(descriptor, [target], place) != size:
                    self._fill(descriptor, target, place)
        except OSError as exc:
            raise DataError(f"{self.path}: cannot be read ({exc.strerror}). Check the disk") from exc
        return batch

    def write(self, index: int, row: np.ndarray) -> None:
        """Write one row, in any order and from any process. Call :meth:`close` between reading and writing.

        Raises:
            OSError: e.g. the disk is full.
        """
        assert row.size == self.lengths[index], "the row has a wrong length"
        numbers = np.ascontiguousarray(row, dtype=self.dtype).reshape(-1).view(np.uint8).data
        place = int(self.offsets[index]) * np.dtype(self.dtype).itemsize
        descriptor = self._opened(os.O_RDWR | os.O_CREAT)
        while numbers:
            done = _write_at(descriptor, numbers, place)
            numbers, place = numbers[done:], place + done

    def close(self) -> None:
        """Close the file in this process; the next read opens it again."""
        if self._finalizer is not None:
            self._finalizer()
            self._descriptor = self._finalizer = None

    def _fill(self, descriptor: int, target: memoryview, place: int) -> None:
        """Read until ``target`` is full. One call returns at most 2 GB, and less at the end of a truncated file."""
        while target:
            got = _read_at(descriptor, [target], place)
            if not got:
                raise self._lost("truncated while it was in use")
            target, place = target[got:], place + got

    def _opened(self, flags: int) -> int:
        if self._descriptor is not None:
            return self._descriptor
        try:
            descriptor = os.open(self.path, flags | _BINARY, 0o644)
        except FileNotFoundError as exc:
            raise self._lost("deleted while it was in use") from exc
        except OSError as exc:
            raise DataError(f"{self.path}: cannot be opened ({exc.strerror}). Fix its permissions") from exc
        size = os.fstat(descriptor).st_size
        if self.num_bytes not in (None, size):
            os.close(descriptor)
            raise self._lost(f"has {size} bytes instead of {self.num_bytes}: it was changed while in use")
        self._finalizer = weakref.finalize(self, os.close, descriptor)
        self._descriptor = descriptor
        return descriptor

    def _lost(self, what: str) -> DataError:
        return DataError(f"{self.path}: {what}. Run the command again to rebuild it")
