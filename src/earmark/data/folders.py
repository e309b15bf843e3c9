"""Folders of recordings: one folder a class, or a ``metadata`` file beside the recordings."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from earmark.data.clips import Clip, ClipTable, Splits
from earmark.data.columns import PATH_COLUMNS, Columns
from earmark.data.decode import AUDIO_SUFFIXES
from earmark.data.manifests import load_manifest
from earmark.data.tables.cells import label_of_folder
from earmark.errors import DataError
from earmark.words import counted

SPLIT_NAMES = ("train", "validation", "test")

# what the folder of a split is called, in any letter case
_ALIASES = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing"),
}
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_NOISE = "_background_noise_"  # Speech Commands: minutes-long noise to cut silence from, not a class


@dataclass(frozen=True)
class SplitNames:
    """What the splits are called in the data, where that is not one of the usual names."""

    train: str = "train"
    validation: str = "validation"
    test: str = "test"

    def of(self, split: str) -> tuple[str, ...]:
        """Names to look for: the given one, and the usual ones where none was given."""
        given: str = getattr(self, split)
        return _ALIASES[split] if given == split else (given,)


def load_folder(
    folder: str | os.PathLike[str], names: SplitNames | None = None, columns: Columns | None = None
) -> Splits:
    """Read class folders, or an audiofolder with ``metadata.csv|jsonl|parquet``.

    Either may lie under folders called train, validation (val, valid, dev) and test. Clips are sorted by path. Hidden
    files and folders do not count; symbolic links are followed.

    Args:
        folder: where the recordings are.
        names: what the folders of the splits are called.
        columns: columns of the metadata file.

    Raises:
        DataError: nothing there to learn from; the message says what was looked for.
    """
    root, names, columns = Path(folder), names or SplitNames(), columns or Columns()
    if not root.is_dir():
        raise DataError(f"{root}: {'is a file, not a folder' if root.exists() else 'no such folder'}")
    places = _split_places(root, names)
    if metadata_file(root) is not None:
        return _by_first_folder(_metadata_table(root, columns), names)
    if not places:
        places = {"train": root}
    splits = Splits()
    reading = _Reading(columns)
    for split, place in places.items():
        has_metadata = metadata_file(place) is not None
        setattr(splits, split, _metadata_table(place, columns) if has_metadata else reading.table(place))
    if root not in places.values():
        beside = [entry.name for entry in _folders(root) if Path(entry.path) not in places.values()]
        if beside:
            reading.notes.append(f"{root}: passed over {', '.join(beside)}, not the folder of a split")
    splits.notes += reading.finish()
    return splits


def is_class_folder_tree(folder: Path, names: SplitNames) -> bool:
    """Whether :func:`load_folder` would find recordings in class folders."""
    places = list(_split_places(folder, names).values()) or [folder]
    return any(_holds_audio(Path(entry.path)) for place in places for entry in _folders(place))


def metadata_file(folder: Path) -> Path | None:
    """The audiofolder metadata of ``folder``.

    Raises:
        DataError: there are two.
    """
    there = [folder / name for name in _METADATA if (folder / name).is_file()]
    if len(there) > 1:
        raise DataError(f"{folder}: has {there[0].name} and {there[1].name}; keep one of them")
    return there[0] if there else None


def has_split_metadata(folder: Path, names: SplitNames) -> bool:
    """Whether the folder of a split below ``folder`` has a metadata file."""
    return any(metadata_file(place) is not None for place in _split_places(folder, names).values())


def _metadata_table(folder: Path, columns: Columns) -> ClipTable:
    path = metadata_file(folder)
    assert path is not None
    return load_manifest(path, replace(columns, usual_audio=("file_name", *PATH_COLUMNS)))


def _by_first_folder(table: ClipTable, names: SplitNames) -> Splits:
    """One metadata file for all splits: ``file_name`` starts with the folder of the split, or all is for training."""
    split_of = {name.casefold(): split for split in SPLIT_NAMES for name in names.of(split)}
    found = [split_of.get(clip.source.replace("\\", "/").split("/")[0].casefold()) for clip in table]
    if None in found:
        return Splits(train=table)
    splits = Splits()
    for split in SPLIT_NAMES:
        rows = [i for i, name in enumerate(found) if name == split]
        if rows:
            setattr(splits, split, table.keep(rows))
    return splits


def _split_places(root: Path, names: SplitNames) -> dict[str, Path]:
    """Folders of splits under ``root``: named like one, with class folders or a metadata file in them.

    A folder called ``train`` with recordings right in it is a class (the vehicle), not a split.
    """
    places: dict[str, Path] = {}
    for entry in _folders(root):
        split = next((s for s in SPLIT_NAMES if entry.name.casefold() in map(str.casefold, names.of(s))), None)
        place = Path(entry.path)
        if split is None or not (metadata_file(place) or _is_layer_of_classes(place)):
            continue
        if split in places:
            raise DataError(f"{root}: {places[split].name} and {place.name} are both the {split} split; rename one")
        places[split] = place
    return {split: places[split] for split in SPLIT_NAMES if split in places}


def _is_layer_of_classes(place: Path) -> bool:
    return bool(_folders(place)) and not any(_is_audio(entry.name) for entry in _files(place))


class _Reading:
    """Reads class folders and counts what it passes over."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns  # what a folder's name says of its recordings
        self.notes: list[str] = []
        self._passed_over: Counter[str] = Counter()

    def table(self, place: Path) -> ClipTable:
        """Clips of the class folders in ``place``, sorted by path."""
        clips: list[Clip] = []
        loose = [entry.name for entry in _files(place) if _is_audio(entry.name)]
        for entry in _folders(place):
            if entry.name == _NOISE:
                self.notes.append(
                    f"{entry.path}: left out, it is noise and not a class. --background_dir {entry.path} cuts a "
                    "background class from it; for the 12 classes and the official splits of Speech Commands give "
                    "--dataset_name superb --dataset_config_name ks as well"
                )
                continue
            paths = self._recordings(entry.path, seen=set())
            if not paths:
                self.notes.append(f"{entry.path}: has no recordings, so there is no class {entry.name!r}")
            label = label_of_folder(entry.name, entry.path, self.columns) if paths else ""
            clips += [Clip(source=path, path=path, label=label) for path in paths]
        if not clips:
            raise DataError(_nothing_found(place, loose))
        if loose:
            self.notes.append(f"{place}: passed over {counted(len(loose), 'recording')} in no class folder")
        return ClipTable(clips, str(place))

    def finish(self) -> list[str]:
        """One line for each thing passed over."""
        if self._passed_over:
            kinds = ", ".join(f"{count} {suffix}" for suffix, count in self._passed_over.most_common())
            total = sum(self._passed_over.values())
            self.notes.append(f"passed over {counted(total, 'file')} whose ending is not of a recording: {kinds}")
        return self.notes

    def _recordings(self, folder: str, seen: set[str]) -> list[str]:
        real = os.path.realpath(folder)
        if real in seen:  # a symbolic link to a folder above
            return []
        paths: list[str] = []
        for entry in _entries(folder):
            if entry.is_dir():
                paths += self._recordings(entry.path, seen | {real})
            elif _is_audio(entry.name):
                paths.append(entry.path)
            else:
                self._passed_over[os.path.splitext(entry.name)[1].casefold() or "without ending"] += 1
        return paths


def _nothing_found(place: Path, loose: Sequence[str]) -> str:
    if loose:
        return (
            f"{place}: {counted(len(loose), 'recording')} but no class folders, so no labels; put each class in a "
            "folder of its own, or list file_name and label in a metadata.csv beside them"
        )
    return f"{place}: no class folders with recordings in them"


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as exc:
        raise DataError(f"{folder}: cannot be listed ({exc.strerror})") from exc


def _folders(place: Path) -> list[os.DirEntry[str]]:
    return [entry for entry in _entries(place) if entry.is_dir()]


def _files(place: Path) -> list[os.DirEntry[str]]:
    return [entry for entry in _entries(place) if not entry.is_dir()]


def _is_audio(name: str) -> bool:
    return os.path.splitext(name)[1].casefold() in AUDIO_SUFFIXES


def _holds_audio(folder: Path) -> bool:
    return any(_is_audio(name) for _, _, files in os.walk(folder) for name in files)
