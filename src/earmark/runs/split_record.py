"""``splits.csv`` of a run: which clips, by content, were in which of its splits.

One row for each clip: ``split,content,clip``. The split is ``train``, ``validation`` or ``test``, or ``pretrain`` for a
clip that the checkpoint a run started from was trained on, as far as that was a run with a record of its own. The
content (:mod:`earmark.audio.content`) identifies the clip, wherever its file is and whatever it is called; ``clip`` is
its name at the time, for people. Clips that are not listed were neither trained on nor used to judge the run.

Recordings of ``--background_dir`` have a row of their own, with the split ``train recording``, ``validation recording``
or ``test recording`` and the content of their first ten seconds: clips cut from them elsewhere have other samples.
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
    """Return what the rows of background recordings have as their split."""
    return f"{split} recording"


@dataclass(frozen=True)
class SplitRecord:
    """Clips of a run.

    Attributes:
        path: the file it was read from.
        contents: by split, uint64 (N,): one for each clip, so equal clips are there several times.
    """

    path: Path
    contents: Mapping[str, np.ndarray]

    def of_split(self, split: str) -> np.ndarray:
        """Return the contents of a split, uint64 (N,); of a split that the run did not have, none."""
        return self.contents.get(split, np.empty(0, np.uint64))

    def recordings(self, *splits: str) -> np.ndarray:
        """Return the contents of the background recordings that clips of these splits were cut from, uint64 (N,)."""
        return np.concatenate([self.of_split(recording_split(split)) for split in splits])

    @property
    def trained(self) -> np.ndarray:
        """Contents of the clips that the model was trained on, by this run or by the run it started from."""
        return np.concatenate([self.of_split(split) for split in _TRAINED])

    @property
    def used(self) -> np.ndarray:
        """Contents of all clips that the run has used in any way."""
        return np.concatenate([np.empty(0, np.uint64), *self.contents.values()])

    def rows(self) -> Iterator[tuple[str, int, str]]:
        """Yield split, content and no name for every clip, to be written again."""
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
    """Read what :func:`write_record` wrote.

    Raises:
        DataError: it is damaged.
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
            f"{path}: damaged ({exc}), so the clips that the run was trained on are not known. Train again, or delete "
            "the file to go on without this check"
        ) from exc


def find_record(model: str | Path | None) -> SplitRecord | None:
    """Return the record of the run that a model or checkpoint belongs to; ``None`` without a record.

    Raises:
        DataError: it is damaged.
    """
    path = next((folder.splits for folder in run_folders(model) if folder.splits.is_file()), None)
    return read_record(path) if path else None


def how_many_trained_on(trained_on: np.ndarray) -> str:
    """Return what is wrong with scores of these clips, bool (N,), in words; empty where none was trained on."""
    count = int(trained_on.sum())
    if not count:
        return ""
    return (
        f"the training split of this run has {count:,} of the {counted(len(trained_on), 'clip')} (equal samples), so "
        "these scores are too high. Leave these clips out: the column trained_on of the predictions marks them"
    )
