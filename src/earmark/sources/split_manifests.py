"""A folder with a manifest for each split: ``train.csv``, ``eval.jsonl``, ``test_labels.csv``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from earmark.clips.clip import Splits
from earmark.clips.columns import Columns, MissingColumnError
from earmark.clips.split_columns import splits_of_manifest
from earmark.clips.split_names import SPLIT_NAMES, SplitNames
from earmark.errors import DataError
from earmark.formats.parquet import PARQUET
from earmark.sources.folder_layout import FolderLayout, find_folder_layout
from earmark.sources.folders import load_layout
from earmark.sources.listing import metadata_file
from earmark.sources.manifests import load_manifest
from earmark.sources.source import GivenData, Request, Source
from earmark.sources.unused_files import note_unused, tables_in
from earmark.text import and_more, counted


class SplitManifests(Source):
    """Tables named after splits. If none of them is for training, the class folders next to them are."""

    name = "a manifest for each split"
    because = "its tables have the names of splits"

    def recognises(self, given: GivenData) -> bool:
        """Return whether a table has the name of a split, and no folder of a split has a metadata file."""
        is_folder = given.folder is not None and not given.has_split_metadata
        return is_folder and bool(find_split_manifests(given.root, given.request.names))

    def load(self, given: GivenData) -> Splits:
        """Return the clips that the tables list.

        Raises:
            DataError: two tables are for one split, or a table cannot be used.
        """
        root, request = given.root, given.request
        manifests = find_split_manifests(root, request.names)
        splits = _load_manifests(manifests, request)
        if "train" not in manifests:
            _add_class_folders(splits, root, manifests, request)
        return note_unused(splits, root, list(manifests.values()))


def find_split_manifests(root: Path, names: SplitNames) -> dict[str, Path]:
    """Return the manifest of each split: ``train.csv``, or ``train_labels.csv`` if there is no such file.

    A single Parquet file named ``train`` also counts.

    Raises:
        DataError: two manifests are for one split.
    """
    there = tables_in(root)
    found: dict[str, Path] = {}
    for split in SPLIT_NAMES:
        exact = [path for path in there if names.exactly(path.stem) == split]
        like = [path for path in there if names.of_table(path) == split and path.suffix not in PARQUET.suffixes]
        paths = exact or like
        if len(paths) > 1:
            raise DataError(
                f"{root}: {paths[0].name} and {paths[1].name} are both the {split} split. Keep one, or name the files "
                "with --train_file, --eval_file and --test_file"
            )
        if paths:
            found[split] = paths[0]
    return found


def _load_manifests(manifests: dict[str, Path], request: Request) -> Splits:
    splits = Splits()
    for split, path in manifests.items():
        try:
            table = load_manifest(path, request.columns)
        except MissingColumnError:
            if split != "test" or len(manifests) == 1 or not _lacks_labels(path, request.columns):
                raise
            splits.notes.append(f"{path}: has no labels, so there is no test split")
            continue
        found = splits_of_manifest(table, split, request.names, manifests)
        for name in SPLIT_NAMES:
            setattr(splits, name, getattr(found, name) or getattr(splits, name))
        splits.notes += found.notes
    return splits


def _lacks_labels(path: Path, columns: Columns) -> bool:
    """Return whether a table has no labels but is otherwise readable."""
    try:
        load_manifest(path, replace(columns, label=Columns.label, needs_labels=False))
    except DataError:
        return False
    return True


def _add_class_folders(splits: Splits, root: Path, manifests: dict[str, Path], request: Request) -> None:
    """Use class folders next to the tables as training clips, except recordings that a table lists."""
    layout = find_folder_layout(root, request.names, [str(path) for path in manifests.values()])
    classes = layout.places.get("train")
    if classes is None or metadata_file(classes.path) is not None:
        return
    train = load_layout(FolderLayout(layout.root, {"train": classes}, layout.notes, layout.skipped), request.columns)
    assert train.train is not None
    tables = [table for split in manifests if (table := getattr(splits, split)) is not None]
    held_out = {str(Path(c.path).resolve()) for table in tables for c in table if c.path is not None}
    rows = [i for i, clip in enumerate(train.train) if str(Path(str(clip.path)).resolve()) not in held_out]
    splits.train = train.train.keep(rows)
    used = and_more([path.name for path in manifests.values()])
    splits.notes += [
        *train.notes,
        f"{root}: {counted(len(rows), 'recording')} of the class folders are used for training; "
        f"those in {used} are not",
    ]
