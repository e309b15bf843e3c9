"""Write a waveform store: samples, and a journal of what has reached the disk.

A journal line is written after its samples have reached the disk. A build that was killed is resumed after the last
complete line; everything after that in ``samples.bin`` is truncated.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from earmark.io.atomic import replacing, sync_folder, sync_stream
from earmark.store.waveforms import BAD, CONTENTS, FORMAT_VERSION, HEADER, NUM_SAMPLES, SAMPLES, SCALES

JOURNAL = "journal.jsonl"
_FLUSH_BYTES = 64_000_000  # bytes of samples between two journal lines


@dataclass(frozen=True)
class EncodedClips:
    """Consecutive clips of the table, as they are stored.

    Attributes:
        samples: samples of all clips, (T,).
        num_samples: length of each clip; 0 if it cannot be used.
        scales: scale of each clip.
        contents: content of each clip (:mod:`earmark.audio.content`).
        bad: ``(row, reason)`` of unusable clips.
    """

    samples: np.ndarray
    num_samples: list[int]
    scales: list[float]
    contents: list[int]
    bad: list[tuple[int, str]]


class StoreWriter:
    """Writer of a store in its building folder. Resumes a build that was stopped.

    Args:
        folder: building folder; created if needed.
        key: key of the store.
        sampling_rate_hz: rate of the samples.
        dtype: type of the stored samples.

    Attributes:
        num_samples: length of each clip so far.
        num_bytes: size of all samples so far.
        cancelled: recordings whose channels cancel out, in order; see :mod:`earmark.audio.samples`.
        incomplete: faults of recordings, by path; see :mod:`earmark.audio.incomplete`.
    """

    def __init__(self, folder: Path, key: str, sampling_rate_hz: int, dtype: str) -> None:
        self.folder = folder
        self.about: dict[str, Any] = {
            "version": FORMAT_VERSION, "key": key, "sampling_rate_hz": sampling_rate_hz, "dtype": dtype,
        }  # fmt: skip
        self.num_samples: list[int] = []
        self.scales: list[float] = []
        self.contents: list[int] = []
        self.bad: list[tuple[int, str]] = []
        self.cancelled: dict[str, None] = {}
        self.incomplete: dict[str, str] = {}
        self.num_bytes = 0
        self._written_down = (0, 0, 0)  # clips, bad clips and bytes in the journal
        folder.mkdir(parents=True, exist_ok=True)
        self._samples = _open_to_update(folder / SAMPLES)
        self._journal = _open_to_update(folder / JOURNAL)
        self._take_up()

    def append(self, clips: EncodedClips) -> bool:
        """Append clips.

        Returns:
            Whether the journal was updated, which happens every 64 MB.
        """
        data = clips.samples.view(np.uint8).data
        while data:
            data = data[self._samples.write(data) :]
        self.num_samples += clips.num_samples
        self.scales += clips.scales
        self.contents += clips.contents
        self.bad += clips.bad
        self.num_bytes += clips.samples.nbytes
        if self.num_bytes - self._written_down[2] < _FLUSH_BYTES:
            return False
        self.flush()
        return True

    def flush(self) -> None:
        """Write the samples to the disk, then update the journal."""
        sync_stream(self._samples)
        clips, bad, _ = self._written_down
        self._write_line(
            {
                "num_samples": self.num_samples[clips:],
                "scales": self.scales[clips:],
                "contents": self.contents[clips:],
                "bad": self.bad[bad:],
                "bytes": self.num_bytes,
                "cancelled": list(self.cancelled),
                "incomplete": self.incomplete,
            }
        )
        self._written_down = (len(self.num_samples), len(self.bad), self.num_bytes)

    def finish(self, folder: Path, origin: str, clips: np.ndarray) -> None:
        """Write the tables and the header, and rename the building folder to ``folder``.

        Args:
            folder: final folder of the store.
            origin: where its recordings come from, for messages.
            clips: keys of the clips (:func:`earmark.store.store_key.clip_keys`), uint64 (N,).
        """
        self.flush()
        tables = {
            NUM_SAMPLES: _npy(self.num_samples, np.int64),
            SCALES: _npy(self.scales, np.float32),
            CONTENTS: _npy(np.stack([clips, np.array(self.contents, np.uint64)]), np.uint64),
            BAD: json.dumps(self.bad, indent=0).encode(),
        }
        header = self.about | {
            "origin": origin,
            "count": len(self.num_samples),
            "bytes": self.num_bytes,
            "cancelled": list(self.cancelled),
            "incomplete": self.incomplete,
            "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in tables.items()},
        }
        for name, content in (tables | {HEADER: json.dumps(header, indent=1).encode()}).items():
            with replacing(self.folder / name) as part:
                part.write_bytes(content)
        sync_folder(self.folder)
        self.close()  # Windows cannot rename a folder with open files
        os.rename(self.folder, folder)
        sync_folder(folder.parent)
        (folder / JOURNAL).unlink()

    def close(self) -> None:
        """Close the files. The next build writes again what is not in the journal."""
        self._samples.close()
        self._journal.close()

    def _take_up(self) -> None:
        """Read the journal as far as it is complete and correct, and truncate the rest."""
        there = os.fstat(self._samples.fileno()).st_size
        lines = self._journal.readlines()
        good = 0
        if lines and _record(lines[0]) == self.about:
            good = len(lines[0])
            for line in lines[1:]:
                record = _record(line)
                if record is None or not self._fits(record, there):
                    break
                self.num_samples += record["num_samples"]
                self.scales += record["scales"]
                self.contents += record["contents"]
                self.bad += [(row, reason) for row, reason in record["bad"]]
                self.num_bytes = record["bytes"]
                self.cancelled.update(dict.fromkeys(record["cancelled"]))
                self.incomplete.update(record["incomplete"])
                good += len(line)
        self._written_down = (len(self.num_samples), len(self.bad), self.num_bytes)
        for file, size in ((self._samples, self.num_bytes), (self._journal, good)):
            file.truncate(size)
            file.seek(size)
        if not good:
            self._write_line(self.about)

    def _fits(self, record: dict[str, Any], there: int) -> bool:
        """Return whether a journal line is consistent with itself, the lines before it and the samples on the disk."""
        num_samples: list[int] = record["num_samples"]
        num_bytes = self.num_bytes + sum(num_samples) * np.dtype(self.about["dtype"]).itemsize
        lists_agree = len(num_samples) == len(record["scales"]) == len(record["contents"])
        lists_agree = lists_agree and num_samples.count(0) == len(record["bad"])
        return lists_agree and record["bytes"] == num_bytes <= there

    def _write_line(self, record: dict[str, Any]) -> None:
        self._journal.write(json.dumps(record).encode() + b"\n")


def _record(line: bytes) -> dict[str, Any] | None:
    """Return the record in a journal line; ``None`` if the line is incomplete."""
    try:
        record = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _open_to_update(path: Path) -> BinaryIO:
    path.touch()
    return open(path, "r+b", buffering=0)


def _npy(values: Sequence[float] | np.ndarray, dtype: type) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(values, dtype=dtype))
    return file.getvalue()
