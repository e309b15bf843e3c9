"""Decide which folders below a folder are splits and which are classes.

The rules, in order:

1. A folder that contains only one folder, which is not a class, is opened: ``data/data/dog``, ``data/audio/train``.
2. A folder with the name of a split (:mod:`earmark.clips.split_names`) is a split, not a class, unless a flag such as
   ``--test_split_name none`` makes it a class.
3. Folders directly in a split, or in the folder itself if it has no splits, are classes. If a class folder contains
   only folders of splits (``dog/train``, ``dog/test``), its clips are divided among these splits.
4. Anything else is an error that lists what was found.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from earmark.clips.split_names import (
    NO_SPLIT,
    SPLIT_FLAGS,
    SPLIT_NAMES,
    SplitNames,
    is_container_name,
    is_fold_name,
    is_unclear_name,
)
from earmark.errors import DataError
from earmark.formats.parquet import PARQUET
from earmark.sources.listing import (
    METADATA,
    Listing,
    Skipped,
    files_in,
    is_recording,
    list_recordings,
    metadata_file,
    subfolders,
)
from earmark.sources.unused_files import tables_in
from earmark.text import agreeing, and_more, counted

NOISE = "_background_noise_"  # Speech Commands: minutes-long noise to cut silence from, not a class

_SHOWN = 12  # folders listed in a message


@dataclass
class Place:
    """A folder whose subfolders may be classes.

    Attributes:
        path: the folder.
        classes: recordings of each subfolder that has any, by its name, sorted.
        empty: names of the other subfolders.
        loose: recordings directly in the folder.
        skipped: files and folders that are not recordings.
    """

    path: Path
    classes: dict[str, list[str]]
    empty: list[str]
    loose: list[str]
    skipped: Skipped

    @classmethod
    def at(cls, path: Path, only: Collection[str] | None = None, used: Collection[str] = ()) -> Place:
        """List a folder. See :func:`earmark.sources.listing.list_recordings`."""
        return cls.of(path, list_recordings(path, only, used), subfolders(path) if only is None else sorted(only))

    @classmethod
    def of(cls, path: Path, listing: Listing, names: Collection[str]) -> Place:
        """Group the recordings of a listing by their subfolder."""
        classes: dict[str, list[str]] = {}
        loose = []
        for recording in listing.paths:
            name, separator, _ = recording[len(listing.prefix) :].partition(os.sep)
            if separator:
                classes.setdefault(name, []).append(recording)
            else:
                loose.append(recording)
        empty = [name for name in names if name not in classes]
        return cls(path, dict(sorted(classes.items())), empty, loose, listing.skipped)

    @property
    def count(self) -> int:
        """Number of recordings in the folder and below it."""
        return len(self.loose) + sum(map(len, self.classes.values()))


@dataclass
class FolderLayout:
    """The splits and classes found in a folder.

    Attributes:
        root: the folder, or the only folder in it.
        places: folder of each split; it has a metadata file or class folders.
        notes: lines for the user about decisions that were not asked for.
        skipped: files and folders that are not recordings.
        unlabelled: the reason why no recording has a label; ``None`` if some have one.
        is_loose: whether no recording has a label because all are directly in one folder that is not a split.
    """

    root: Path
    places: dict[str, Place] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    skipped: Skipped = field(default_factory=Skipped)
    unlabelled: str | None = None
    is_loose: bool = False


def find_folder_layout(folder: Path, names: SplitNames, used: Collection[str] = ()) -> FolderLayout:
    """Find the splits and the classes below a folder.

    Args:
        folder: folder to search.
        names: names of the splits.
        used: paths of tables in the folder that are in use.

    Raises:
        DataError: the folders have more than one meaning, or a folder has the name of a split but cannot be a split.
    """
    root = open_single_folders(folder, names)
    notes = [] if root == folder else [f"{folder}: reading {root}, the only folder with recordings in it"]
    named = _split_folders(root, names)
    for split, flag in SPLIT_FLAGS.items():
        if getattr(names, split) not in (split, NO_SPLIT) and split not in named:
            notes.append(f"{root}: no folder is called {getattr(names, split)} ({flag})")
    splits = {split: _opened(Place.at(path), names, notes) for split, path in named.items()}
    layout = FolderLayout(root, notes=notes)
    for split, place in list(splits.items()):
        if not place.count and metadata_file(place.path) is None:
            notes.append(f"{place.path}: has no recordings, so there is no {split} split in it")
            del splits[split]
        if metadata_file(place.path) is None:
            layout.skipped.add(place.skipped)
    others = [name for name in subfolders(root) if root / name not in named.values()]
    beside = Place.at(root, others, used)
    layout.skipped.add(beside.skipped)
    if beside.classes.pop(NOISE, None) is not None:
        notes.append(noise_note(root / NOISE))
    if splits:
        _with_splits(layout, splits, beside, names)
    else:
        _without_splits(layout, beside, names)
    return layout


def open_single_folders(root: Path, names: SplitNames) -> Path:
    """Return the folder to read: descend while all recordings are in one subfolder that is not a class.

    A subfolder is not a class if its name is generic (``data``, ``audio``) or like the name of the folder around it (an
    unpacked archive), or if it contains folders of splits or tables.
    """
    while True:
        if metadata_file(root) is not None or any(map(is_recording, files_in(root))):
            return root
        if any(names.of_table(path) or path.suffix in PARQUET.suffixes for path in tables_in(root)):
            return root
        filled = [name for name in subfolders(root) if _holds_data(root / name)]
        if len(filled) != 1 or names.like(filled[0]):
            return root
        inner = root / filled[0]
        has_splits = any(names.exactly(n) or (names.like(n) and subfolders(inner / n)) for n in subfolders(inner))
        has_tables = metadata_file(inner) is not None or any(map(names.of_table, tables_in(inner)))
        is_wrapper = is_container_name(inner.name) or _alike(inner.name, root.resolve().name)
        has_classes = any(_holds_data(inner / name) for name in subfolders(inner))
        if not (has_splits or has_tables or (is_wrapper and has_classes)):
            return root
        root = inner


def _holds_data(folder: Path) -> bool:
    """Return whether a folder has recordings or metadata in it or below it."""
    found = any(
        is_recording(name) or name in METADATA or name.endswith(PARQUET.suffixes)
        for _, _, files in os.walk(folder)
        for name in files
    )
    return found or bool(any(os.path.islink(folder / name) for name in subfolders(folder)) and Place.at(folder).count)


def _alike(inner: str, outer: str) -> bool:
    """Return whether one name starts with the other, ignoring everything except letters and digits."""
    first, second = ("".join(filter(str.isalnum, name)).casefold() for name in (inner, outer))
    return bool(first and second) and (first.startswith(second) or second.startswith(first))


def _split_folders(root: Path, names: SplitNames) -> dict[str, Path]:
    """Return the subfolder of each split, if it exists."""
    found: dict[str, Path] = {}
    for name in subfolders(root):
        split = names.like(name)
        if split is None:
            continue
        if split in found:
            raise DataError(
                f"{root}: {found[split].name} and {name} are both the {split} split. Rename one of them, or name the "
                f"folder of each split with {', '.join(SPLIT_FLAGS.values())}"
            )
        found[split] = root / name
    return {split: found[split] for split in SPLIT_NAMES if split in found}


def _opened(place: Place, names: SplitNames, notes: list[str]) -> Place:
    """Open the folder around the classes of a split, such as ``audio`` in ``train/audio/dog``.

    If this folder has no class folders, all recordings are loose.
    """
    if metadata_file(place.path) is not None or place.loose or len(place.classes) != 1:
        return place
    (name,) = place.classes
    if not is_container_name(name):
        return place
    inner = Place.at(place.path / name)
    if inner.classes:
        notes.append(f"{place.path}: reading {inner.path}, the only folder with recordings in it")
    return inner


def _with_splits(layout: FolderLayout, splits: dict[str, Place], beside: Place, names: SplitNames) -> None:
    """Fill in the places of a folder that has folders of splits."""
    root = layout.root
    labelled = {split: place for split, place in splits.items() if place.classes or metadata_file(place.path)}
    bare = {split: place for split, place in splits.items() if split not in labelled}
    if beside.classes and not ("train" in labelled and len(labelled) > 1):
        in_splits = {label for place in labelled.values() for label in place.classes}
        if bare or "train" in labelled or not in_splits <= set(beside.classes):
            _check_names(beside)
            raise DataError(_split_beside_classes(root, splits, beside))
        layout.notes.append(
            f"{root}: the folders {and_more(list(beside.classes))} are the classes of the training split, because "
            f"{and_more([place.path.name for place in labelled.values()])} {agreeing(len(labelled), 'have')} the same "
            "folders"
        )
        labelled = {"train": beside, **labelled}
    elif beside.classes:
        found = [f"{name} ({counted(len(paths), 'recording')})" for name, paths in beside.classes.items()]
        layout.notes.append(f"{root}: did not use {and_more(found)}, because only folders of splits are used")
    if not labelled:
        layout.unlabelled = _splits_without_classes(root, splits)
        return
    if "train" in bare:
        raise DataError(
            f"{bare['train'].path}: {counted(bare['train'].count, 'recording')} without class folders, so without "
            f"labels, but {and_more([place.path.name for place in labelled.values()])} has class folders. Put each "
            f"class of {bare['train'].path.name} in its own folder"
        )
    for split, place in bare.items():
        layout.notes.append(
            f"{place.path}: did not use {counted(place.count, 'recording')}: no class folders, so no labels for the "
            f"{split} split (`earmark predict` can label them)"
        )
    if beside.loose and "train" in labelled and labelled["train"] is not beside:
        layout.notes.append(f"{root}: did not use {counted(len(beside.loose), 'recording')} outside class folders")
    layout.places = {split: labelled[split] for split in SPLIT_NAMES if split in labelled}


def _without_splits(layout: FolderLayout, place: Place, names: SplitNames) -> None:
    """Fill in the places of a folder that has no folders of splits."""
    root = layout.root
    alone = next(iter(place.classes)) if len(place.classes) == 1 and not place.loose else None
    if alone is not None and is_container_name(alone) and not names.like(alone):
        # such as data/wavs/1.wav; open_single_folders() has not opened wavs, because it contains no folders
        place = Place.at(root / alone)
    if not place.classes:
        layout.unlabelled, layout.is_loose = _no_classes(place), bool(place.loose)
        return
    _check_names(place)
    shared_out = _by_split_below(place, names)
    if shared_out is not None:
        layout.places = shared_out
        layout.notes.append(f"{root}: each class folder holds folders of splits, which are used as the splits")
        return
    if len(place.classes) == 1:
        inner = Place.at(root / next(iter(place.classes)))
        if len(inner.classes) > 1 and not inner.loose:
            layout.notes.append(
                f"{root}: {inner.path.name} is the only folder and therefore the only class. If "
                f"{and_more(list(inner.classes))} are the classes, add --data_dir {inner.path} instead"
            )
    layout.places = {"train": place}


def _check_names(place: Place) -> None:
    """Reject names of folds and of parts of the data that are neither splits nor classes."""
    found = _found(place)
    if len(place.classes) > 1 and all(map(is_fold_name, place.classes)):
        raise DataError(
            f"{place.path}: the folders {found} look like folds, not like classes. List the recordings in a table with "
            "the columns path, label and fold and add --train_file TABLE --fold_column fold (`earmark prepare` writes "
            "it for public data sets), or pick two with --train_split_name and --eval_split_name"
        )
    unclear = [name for name in place.classes if is_unclear_name(name)]
    if unclear:
        raise DataError(
            f"{place.path}: the folder {unclear[0]} looks like a part of the data, not like a class. Found: {found}. "
            f"Set its split with --eval_split_name {unclear[0]} or --test_split_name {unclear[0]}, or move it "
            "out of this folder"
        )


def _by_split_below(place: Place, names: SplitNames) -> dict[str, Place] | None:
    """Return the splits of ``dog/train``, ``dog/test``, ``cat/train``; ``None`` if no class folder has such folders.

    Raises:
        DataError: only some of the recordings are in such folders.
    """
    classes: dict[str, dict[str, list[str]]] = {split: {} for split in SPLIT_NAMES}
    outside: list[str] = []
    inside: list[str] = []
    for label, paths in place.classes.items():
        for path in paths:
            parts = Path(os.path.relpath(path, place.path)).parts
            split = names.exactly(parts[1]) if len(parts) > 2 else None
            if split is None:
                outside.append(path)
                continue
            inside.append(path)
            classes[split].setdefault(label, []).append(path)
    if not inside:
        return None
    if outside:
        split = names.exactly(Path(os.path.relpath(inside[0], place.path)).parts[1])
        assert split is not None
        raise DataError(
            f"{place.path}: {counted(len(inside), 'recording')} {agreeing(len(inside), 'are')} in folders named like "
            f"a split ({inside[0]}), but {len(outside):,} {agreeing(len(outside), 'are')} next to them ({outside[0]}). "
            f"Put all recordings into folders of splits, or add {SPLIT_FLAGS[split]} none if the folder is not a split"
        )
    return {s: Place(place.path, classes[s], [], [], Skipped()) for s in SPLIT_NAMES if classes[s]}


# ---------------------------------------------------------------- messages


def noise_note(folder: Path) -> str:
    """Return a note on why the noise of Speech Commands is not a class."""
    return (
        f"{folder}: ignored, because it is noise and not a class. Add --background_dir {folder} to cut a background "
        "class from it. For the 12 classes and the official splits of Speech Commands, add --dataset_name superb "
        "--dataset_config_name ks"
    )


def _found(place: Place) -> str:
    return and_more([f"{name} ({counted(len(paths), 'recording')})" for name, paths in place.classes.items()], _SHOWN)


def _no_classes(place: Place) -> str:
    if place.loose:
        return (
            f"{place.path}: {counted(len(place.loose), 'recording')} but no class folders, so no labels. Put each "
            f"class in its own folder ({place.path / 'CLASS'}), or list file_name and label in a metadata.csv next to "
            f"the recordings"
        )
    found = f" Found: {and_more(place.empty, _SHOWN)}." if place.empty else ""
    skipped = place.skipped.files_note()
    return (
        f"{place.path}: no class folders with recordings in them.{found}{f' {skipped}.' if skipped else ''} Put the "
        "recordings of each class in its own folder (also below train, validation and test), or list file_name "
        "and label of all recordings in a metadata.csv"
    )


def _describe(splits: dict[str, Place]) -> str:
    return " and ".join(f"{place.path.name} ({counted(place.count, 'recording')})" for place in splits.values())


def _splits_without_classes(root: Path, splits: dict[str, Place]) -> str:
    first = next(iter(splits.values())).path
    are = "look like splits, but hold" if len(splits) > 1 else "looks like a split, but holds"
    return (
        f"{root}: {_describe(splits)} {are} no class folders, so no recording has a label. Put each class in a "
        f"separate folder ({first / 'CLASS'}), or list file_name and label of all recordings in "
        f"{root / 'metadata.csv'}{_if_a_class(splits)}"
    )


def _split_beside_classes(root: Path, splits: dict[str, Place], beside: Place) -> str:
    one = len(splits) == 1
    first = next(iter(splits.values()))
    if first.classes:
        remedy = f"To use {first.path.name} alone, add --data_dir {first.path} instead"
    else:
        remedy = (
            f"If its recordings have labels, sort them into {first.path / 'CLASS'} and move the others into "
            f"{root / 'train'}; if not, move {first.path.name} out of {root}"
        )
    return (
        f"{root}: {_describe(splits)} {'looks like a split' if one else 'look like splits'}, but there are other "
        f"folders with recordings: {_found(beside)}. {remedy}{_if_a_class(splits)}"
    )


def _if_a_class(splits: dict[str, Place]) -> str:
    flags = " ".join(f"{SPLIT_FLAGS[split]} none" for split in splits)
    one = len(splits) == 1
    names = " and ".join(place.path.name for place in splits.values())
    return f". If {names} {'is a class' if one else 'are classes'}, add {flags}"
