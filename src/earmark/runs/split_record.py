"""Write and read ``splits.csv``, which records the clips of each split of a run by their content.

Each clip has a row ``split,content,clip``. The split is ``train``, ``validation``, ``test``, or ``pretrain`` for a
training clip of the run whose checkpoint this run started from. The content (:mod:`earmark.audio.content`) identifies
the clip even if its file is moved or renamed; ``clip`` is its name when the run started. A clip without a row was
neither trained on nor scored by the run.

A recording of ``--background_dir`` also has a row, because clips cut from it at other positions have other samples. Its
split is ``train recording``, ``validation recording`` or ``test recording``, and its content is that of its first ten
seconds.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from earmark.audio.content import are_among, content_text
from earmark.errors import DataError
from earmark.io.atomic import writing
from earmark.io.csv_rows import csv_row
from earmark.runs.folder import run_folders
from earmark.text import counted

_HEAD = ["split", "content", "clip"]
_TRAINED = ("train", "pretrain")


def recording_split(split: str) -> str:
    """Return the name in the column ``split`` for background recordings of a split."""
    return f"{split} recording"


@dataclass(frozen=True)
class SplitRecord:
    """The recorded clips of a run.

    Attributes:
        path: file of the record.
        contents: content hashes of the clips by split, uint64 (N,); equal clips occur several times.
    """

    path: Path
    contents: Mapping[str, np.ndarray]

    def of_split(self, split: str) -> np.ndarray:
        """Return the contents of a split, uint64 (N,); empty if the run had no such split."""
        return self.contents.get(split, np.empty(0, np.uint64))

    def recordings(self, *splits: str) -> np.ndarray:
        """Return the contents of the background recordings that clips of these splits were cut from, uint64 (N,)."""
        return np.concatenate([self.of_split(recording_split(split)) for split in splits])

    @property
    def trained(self) -> np.ndarray:
        """Contents of the clips that this run, or the run it started from, trained on."""
        return np.concatenate([self.of_split(split) for split in _TRAINED])

    @property
    def used(self) -> np.ndarray:
        """Contents of all clips that the run used."""
        return np.concatenate([np.empty(0, np.uint64), *self.contents.values()])

    def rows(self) -> Iterator[tuple[str, int, str]]:
        """Yield split, content and an empty name for every clip, for a copy of the record."""
        for split, contents in self.contents.items():
            for content in contents.tolist():
                yield split, content, ""

    def trained_on(self, contents: np.ndarray) -> np.ndarray:
        """Return which clips, by contents uint64 (N,), the model was trained on, bool (N,)."""
        return are_among(contents, self.trained)


_Rows = Iterable[tuple[str, int, str]]


def write_record(path: Path, rows: _Rows) -> None:
    """Write ``(split, content, clip name)`` rows.

    Raises:
        OutputError: the file cannot be written.
    """
    with writing(path) as stream:
        stream.write(csv_row(_HEAD))
        stream.writelines(csv_row([split, content_text(content), clip]) for split, content, clip in rows)


def read_record(path: Path) -> SplitRecord:
    """Read a file of :func:`write_record`.

    Raises:
        DataError: the file is damaged.
    """
    contents: dict[str, list[int]] = {}
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            rows = csv.reader(stream)
            if next(rows, None) != _HEAD:
                raise ValueError(f"the first row is not {','.join(_HEAD)}")
            for split, content, _ in rows:
                contents.setdefault(split, []).append(int(content, 16))
        return SplitRecord(path, {split: np.array(values, np.uint64) for split, values in contents.items()})
    except (OSError, ValueError, OverflowError, csv.Error) as exc:
        raise DataError(
            f"{path}: the file is damaged ({exc}), so the training clips of the run are unknown. Train again, or "
            "delete the file to skip this check."
        ) from exc


def find_record(model: str | Path | None) -> SplitRecord | None:
    """Return the record of the run that a model or checkpoint belongs to; ``None`` without a record.

    Raises:
        DataError: the record is damaged.
    """
    path = next((folder.splits for folder in run_folders(model) if folder.splits.is_file()), None)
    return read_record(path) if path else None


def how_many_trained_on(trained_on: np.ndarray) -> str:
    """Return a warning if the model was trained on any of the clips, bool (N,), else an empty text."""
    count = int(trained_on.sum())
    if not count:
        return ""
    return (
        f"the training split of this run has {count:,} of the {counted(len(trained_on), 'clip')} (equal samples), so "
        "these scores are too high. Leave these clips out: the column trained_on of the predictions marks them."
    )
