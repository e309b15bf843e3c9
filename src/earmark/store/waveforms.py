"""The waveform store: samples of every clip of a table, decoded once into one file that all processes read.

A store is a folder. ``samples.bin`` has the samples of the clips, one after the other, as int16, float16 or float32.
``num_samples.npy`` and ``scales.npy`` have the length of each clip and the factor for its numbers. ``contents.npy`` has
the key of each clip (:func:`earmark.store.store_key.clip_keys`) and its content (:mod:`earmark.audio.content`).
``bad.json`` lists the clips that could not be decoded. ``store.json``, written last, has the key of the store.
:mod:`earmark.store.store_build` builds stores.

:class:`earmark.store.flat_file.FlatFile` reads the samples.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from earmark.clips.clip import ClipTable
from earmark.errors import DataError
from earmark.store.flat_file import FlatFile
from earmark.store.scan import BadClip

FORMAT_VERSION = 3  # 3: recordings are read to their end, even if their header announces another length
SAMPLES, NUM_SAMPLES, SCALES, CONTENTS = "samples.bin", "num_samples.npy", "scales.npy", "contents.npy"
BAD, HEADER = "bad.json", "store.json"

_INT16_SCALE = 1 / 32768  # decoders divide 16-bit samples by 32768
_LEAST_SCALE = float(np.finfo(np.float32).tiny)  # below this, float32 loses precision


@dataclass(eq=False)
class WaveformStore:
    """Samples of N clips. Can be pickled; each process opens the file on first use.

    Attributes:
        folder: folder of the store.
        sampling_rate_hz: rate of the samples.
        dtype: type of the stored numbers: int16, float16 or float32.
        num_samples: length of each clip, int64 (N,); 0 if it cannot be used.
        scales: factor from the stored numbers to samples, float32 (N,).
        contents: content of each clip, uint64 (N,); see :mod:`earmark.audio.content`.
        bad: clips that cannot be used, by row.
        offsets: start of each clip in the file, in samples, int64 (N,).
        num_bytes: size of the file.
        cancelled: recordings whose channels cancel out; see :mod:`earmark.audio.samples`.
        incomplete: faults of recordings, by path; see :mod:`earmark.audio.incomplete`.
    """

    folder: Path
    sampling_rate_hz: int
    dtype: str
    num_samples: np.ndarray
    scales: np.ndarray
    contents: np.ndarray
    bad: list[BadClip]
    offsets: np.ndarray
    num_bytes: int
    cancelled: list[str] = field(default_factory=list)
    incomplete: dict[str, str] = field(default_factory=dict)
    _file: FlatFile = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._file = FlatFile(
            self.folder / SAMPLES, self.dtype, self.num_samples, offsets=self.offsets, num_bytes=self.num_bytes
        )

    def __len__(self) -> int:
        return len(self.num_samples)

    @property
    def durations_s(self) -> np.ndarray:
        """Duration of each clip in seconds, float64 (N,); 0 if it cannot be used."""
        return self.num_samples / self.sampling_rate_hz

    def without_bad(self) -> WaveformStore:
        """Return the samples of the usable clips, in the rows of the table from :func:`earmark.store.scan.drop_bad`."""
        return self.keep(np.delete(np.arange(len(self)), [clip.index for clip in self.bad]))

    def keep(self, rows: Sequence[int] | np.ndarray) -> WaveformStore:
        """Return the samples of these rows, which must not include bad clips."""
        rows = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            num_samples=self.num_samples[rows],
            scales=self.scales[rows],
            contents=self.contents[rows],
            offsets=self.offsets[rows],
            bad=[],
        )

    def read(self, index: int, start: int = 0, count: int | None = None) -> np.ndarray:
        """Return one clip or part of it.

        Args:
            index: row of the clip.
            start: first sample.
            count: number of samples; ``None`` for the rest.

        Returns:
            float32 ``(T,)``.

        Raises:
            DataError: the file was truncated or deleted.
        """
        count = int(self.num_samples[index]) - start if count is None else count
        samples = self.read_batch([index], np.array([start]), np.array([count]), count)[0]
        return np.multiply(samples, self.scales[index], dtype=np.float32)

    def iterate(self, indices: Sequence[int] | np.ndarray) -> Iterator[np.ndarray]:
        """Yield whole clips, float32 (T_i,), in the order of ``indices``.

        Raises:
            DataError: the file was truncated or deleted.
        """
        return (self.read(int(index)) for index in indices)

    def read_batch(
        self, indices: Sequence[int] | np.ndarray, starts: np.ndarray, counts: np.ndarray, width: int
    ) -> np.ndarray:
        """Read parts of B clips into one array: see :meth:`earmark.store.flat_file.FlatFile.read_batch`.

        The samples are the result times ``scales[indices]``.
        """
        return self._file.read_batch(indices, starts, counts, width)


def default_store_root() -> Path:
    """Return the folder of stores: ``$EARMARK_STORE``, else ``earmark/waveforms`` in the user's cache folder."""
    if given := os.environ.get("EARMARK_STORE"):
        return Path(given).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "earmark" / "waveforms"


def encode_samples(samples: np.ndarray, dtype: str) -> tuple[np.ndarray, float]:
    """Return the numbers to store for one clip, and the factor that converts them to samples.

    16-bit recordings at the model's rate are stored exactly. Other samples stored as int16 are scaled to a peak of
    32,767, so that nothing clips and quiet recordings keep 15 bits.

    Args:
        samples: finite float32 (T,), T >= 1.
        dtype: int16, float16 (scaled to a peak of 1) or float32.

    Returns:
        ``(stored, scale)``: (T,) of type ``dtype``, and the factor.
    """
    if dtype == "float32":
        return samples, 1.0
    peak = float(np.abs(samples).max())
    if dtype == "float16":
        return (samples / np.float32(peak or 1.0)).astype(np.float16), peak or 1.0
    if peak <= 1:
        scaled = samples * np.float32(32768)
        if scaled.max() < 32768:
            stored = scaled.astype(np.int16)
            if np.array_equal(stored, scaled):
                return stored, _INT16_SCALE
    scale = np.float32(max(peak / 32767, _LEAST_SCALE))
    return np.rint(samples / scale).astype(np.int16), float(scale)


def find_store(folder: Path, key: str, table: ClipTable) -> WaveformStore | None:
    """Open a store if it exists and is complete.

    Args:
        folder: folder of the store.
        key: key that the store must have.
        table: its N clips.

    Raises:
        DataError: the store is damaged, truncated or of another version.
    """
    if not folder.is_dir():
        return None
    try:
        header = json.loads((folder / HEADER).read_bytes())
        if header["version"] != FORMAT_VERSION:
            raise DataError(f"{folder}: has format {header['version']} instead of {FORMAT_VERSION}")
        if header["key"] != key or header["count"] != len(table):
            raise DataError(f"{folder}: was built from other recordings")
        tables = {name: (folder / name).read_bytes() for name in (NUM_SAMPLES, SCALES, CONTENTS, BAD)}
        for name, content in tables.items():
            if hashlib.sha256(content).hexdigest() != header["sha256"][name]:
                raise DataError(f"{folder / name}: is damaged")
        size = os.stat(folder / SAMPLES).st_size
    except OSError as exc:
        raise DataError(f"{exc.filename}: cannot be read ({exc.strerror})") from exc
    except (ValueError, LookupError, TypeError) as exc:
        raise DataError(f"{folder / HEADER}: is damaged") from exc
    if size != header["bytes"]:
        raise DataError(f"{folder / SAMPLES}: is truncated ({size} of {header['bytes']} bytes)")
    num_samples = np.load(io.BytesIO(tables[NUM_SAMPLES]))
    return WaveformStore(
        folder=folder,
        sampling_rate_hz=header["sampling_rate_hz"],
        dtype=header["dtype"],
        num_samples=num_samples,
        scales=np.load(io.BytesIO(tables[SCALES])),
        contents=np.load(io.BytesIO(tables[CONTENTS]))[1],
        # the same recordings may have other names in this table
        bad=[BadClip(index, table[index].source, reason) for index, reason in json.loads(tables[BAD])],
        offsets=np.cumsum(num_samples) - num_samples,
        num_bytes=size,
        cancelled=header["cancelled"],
        incomplete=header["incomplete"],
    )
