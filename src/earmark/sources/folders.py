"""Folders of recordings: one folder per class, or a ``metadata`` file next to the recordings."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from earmark.clips.clip import Clip, ClipTable, Splits
from earmark.clips.columns import Columns
from earmark.clips.split_columns import find_split_column, split_by_column
from earmark.clips.split_names import SPLIT_FLAGS, SPLIT_NAMES, SplitNames
from earmark.errors import DataError
from earmark.formats.column_names import PATH_COLUMNS
from earmark.io.nearby_names import path_suggestion
from earmark.sources.folder_layout import FolderLayout, Place, find_folder_layout, open_single_folders
from earmark.sources.listing import metadata_file
from earmark.sources.manifests import load_manifest
from earmark.sources.tables.cells import label_of_folder
from earmark.text import and_more, counted


def load_folder(
    folder: str | os.PathLike[str], names: SplitNames | None = None, columns: Columns | None = None
) -> Splits:
    """Read class folders, or an audiofolder with ``metadata.csv|jsonl|parquet``.

    Both may also be below folders of splits: see :mod:`earmark.sources.folder_layout`. Clips are sorted by path.

    Args:
        folder: folder of the recordings.
        names: names of the splits.
        columns: columns of the metadata file.

    Raises:
        DataError: there are no labelled recordings, or the folders have more than one meaning.
    """
    root, names, columns = Path(folder), names or SplitNames(), columns or Columns()
    check_is_folder(root)
    inner = open_single_folders(root, names)
    if metadata_file(inner) is not None:
        return load_metadata(inner, names, columns)
    layout = find_folder_layout(root, names)
    if layout.unlabelled is not None:
        raise DataError(layout.unlabelled)
    return load_layout(layout, columns)


def check_is_folder(root: Path) -> None:
    """Check that a folder exists.

    Raises:
        DataError: the folder does not exist, or is a file.
    """
    if not root.is_dir():
        if root.exists():
            raise DataError(f"{root}: is a file, not a folder. Pass a folder")
        raise DataError(f"{root}: no such folder{path_suggestion(root, folders=True)}")


def load_layout(layout: FolderLayout, columns: Columns) -> Splits:
    """Read the recordings of a layout that has places."""
    splits = Splits(notes=list(layout.notes))
    for split, place in layout.places.items():
        if metadata_file(place.path) is not None:
            setattr(splits, split, _metadata_table(place.path, columns))
            continue
        setattr(splits, split, _class_table(place, columns))
        if place.empty:
            no_class = f"has no recordings, so there is no class {place.empty[0]!r}"
            if len(place.empty) > 1:
                no_class = f"{len(place.empty)} folders have no recordings, so they are not classes"
            where = place.path / place.empty[0] if len(place.empty) == 1 else place.path
            more = f": {and_more(place.empty)}" if len(place.empty) > 1 else ""
            splits.notes.append(f"{where}: {no_class}{more}")
        if place.loose:
            splits.notes.append(
                f"{place.path}: did not use {counted(len(place.loose), 'recording')} outside class folders "
                f"({os.path.basename(place.loose[0])})"
            )
    splits.notes += layout.skipped.notes(layout.root)
    return splits


def load_metadata(folder: Path, names: SplitNames, columns: Columns) -> Splits:
    """Read the recordings listed in the metadata file of a folder, split by split."""
    return by_split(_metadata_table(folder, columns), folder, names)


def by_split(table: ClipTable, folder: Path, names: SplitNames) -> Splits:
    """Divide the clips of one table by the splits in their paths or in a column.

    A path that starts with the folder of a split belongs to that split. If no path does, a split column decides
    (:mod:`earmark.clips.split_columns`). Without one, all clips are for training.

    Args:
        table: all clips.
        folder: folder that paths are relative to.
        names: names of the splits.

    Raises:
        DataError: only some paths start with the folder of a split, or only some cells of the column are splits.
    """
    parts = [_parts(clip, folder) for clip in table]
    found = [names.of_path(one) for one in parts]
    if not any(found):
        column = find_split_column(table, names)
        if column is None:
            return Splits(train=table)
        column.check_every_row()
        return split_by_column(column, table)
    if None in found:
        _refuse_others(table, parts, found)
    splits = Splits()
    for split in SPLIT_NAMES:
        rows = [i for i, name in enumerate(found) if name == split]
        if rows:
            setattr(splits, split, table.keep(rows))
    return splits


def _parts(clip: Clip, folder: Path) -> list[str]:
    """Return the folders of a clip's path, relative to ``folder``."""
    text = clip.source.replace("\\", "/")
    if clip.path is not None:
        relative = os.path.relpath(clip.path, folder)
        if not relative.startswith(os.pardir):
            text = relative.replace(os.sep, "/")
    return [part for part in text.split("/") if part not in ("", ".")]


def _refuse_others(table: ClipTable, parts: list[list[str]], found: list[str | None]) -> None:
    def listed(rows: Mapping[str, int]) -> str:
        return and_more([f"{name} ({counted(count, 'row')})" for name, count in rows.items()], 6)

    first = [f"{one[0]}/" if len(one) > 1 else "no folder" for one in parts]
    of_splits = Counter(name for name, split in zip(first, found, strict=True) if split is not None)
    others = Counter(name for name, split in zip(first, found, strict=True) if split is None)
    name = next(iter(others)).rstrip("/")
    is_class = " ".join(f"{SPLIT_FLAGS[split]} none" for split in SPLIT_NAMES if split in found)
    raise DataError(
        f"{table.origin}: some paths start with the folder of a split: {listed(of_splits)}; others do not: "
        f"{listed(others)}. Set their split (--eval_split_name {name}, --test_split_name {name}), or give each split a "
        f"separate table with --train_file, --eval_file and --test_file. If {' and '.join(of_splits)} "
        f"{'is a class' if len(of_splits) == 1 else 'are classes'}, add {is_class}"
    )


def _metadata_table(folder: Path, columns: Columns) -> ClipTable:
    path = metadata_file(folder)
    assert path is not None
    return load_manifest(path, replace(columns, usual_audio=("file_name", *PATH_COLUMNS)))


def _class_table(place: Place, columns: Columns) -> ClipTable:
    """Return the clips of class folders.

    Class names are normalised, because macOS, and archives made on it, store é as two characters.
    """
    clips: list[Clip] = []
    for name, paths in place.classes.items():
        label = label_of_folder(unicodedata.normalize("NFC", name), str(place.path / name), columns)
        clips += [Clip(source=path, path=path, label=label) for path in paths]
    return ClipTable(clips, str(place.path))
