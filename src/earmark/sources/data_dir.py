"""One folder of data, read by what is in it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from earmark.clips.clip import ClipTable, Splits
from earmark.clips.columns import Columns, MissingColumnError
from earmark.clips.split_columns import splits_of_manifest
from earmark.clips.split_names import SPLIT_NAMES, SplitNames, is_table_name
from earmark.errors import DataError
from earmark.sources.archives import is_archive
from earmark.sources.folder_layout import FolderLayout, find_folder_layout, metadata_file, unwrapped
from earmark.sources.folders import by_split, check_is_folder, load_layout, load_metadata
from earmark.sources.listing import files_in, list_recordings, subfolders
from earmark.sources.manifests import MANIFEST_SUFFIXES, load_manifest
from earmark.words import and_more, counted

_SAVED = ("dataset_dict.json", "state.json")  # files that save_to_disk writes beside its tables
_LISTS = (".txt", ".lst", ".list", ".scp", ".xlsx", ".xls")  # suffixes of tables that are not read


def load_data_dir(
    folder: str, columns: Columns, names: SplitNames, *, config: str | None = None, cache_dir: str | None = None
) -> Splits:
    """Load a folder by what is in it.

    Looked for, in this order: a table written by ``save_to_disk``; ``metadata.csv|jsonl|parquet``; a manifest for each
    split (``train.csv``, ``eval.jsonl``...); a snapshot of a hub data set with Parquet files; class folders, with or
    without folders of splits above them; a table beside recordings that no folder gives a label (``labels.csv``).
    Tables that look like labels or a split and are not used are named in the notes.

    Raises:
        DataError: none of these, or what is there cannot serve or has more than one meaning.
        MissingExtraError: the folder needs the package ``datasets``.
    """
    given = Path(folder)
    check_is_folder(given)
    if is_saved_table(given):
        from earmark.sources.hub import load_saved

        return load_saved(given, columns, names)
    root = unwrapped(given, names)
    used: Collection[Path] = ()
    has_metadata = _has_split_metadata(root, names)
    if (path := metadata_file(root)) is not None:
        splits, used = load_metadata(root, names, columns), [path]
    elif not has_metadata and (manifests := _split_manifests(root, names)):
        splits, used = _load_manifests(root, manifests, columns, names), list(manifests.values())
    elif not has_metadata and is_table_folder(root):
        return _load_snapshot(root, columns, names, config, cache_dir)
    else:
        layout = find_folder_layout(given, names)
        if layout.unlabelled is None:
            splits = load_layout(layout, columns)
        else:
            splits, used = _load_labels_beside(layout, columns, names)
    splits.notes += _unused(root, used)
    return splits


def is_saved_table(root: Path) -> bool:
    """Return whether ``save_to_disk`` wrote the folder."""
    return any((root / name).is_file() for name in _SAVED)


def is_table_folder(root: Path) -> bool:
    """Return whether Parquet files or a ``save_to_disk`` table lie in ``root``, Parquet up to two folders down."""
    patterns = ("*.parquet", "*/*.parquet", "*/*/*.parquet")
    return is_saved_table(root) or any(next(root.glob(pattern), None) is not None for pattern in patterns)


def is_unlabelled_folder(root: Path, names: SplitNames) -> bool:
    """Return whether recordings lie right in one folder and nothing there says what they are."""
    inner = unwrapped(root, names)
    if metadata_file(inner) is not None or _split_manifests(inner, names) or is_table_folder(inner):
        return False
    try:
        layout = find_folder_layout(root, names)
    except DataError:  # for whoever loads the labels
        return False
    return layout.is_loose and not _label_tables(layout.root, [])


def _has_split_metadata(root: Path, names: SplitNames) -> bool:
    return any(names.like(name) and metadata_file(root / name) is not None for name in subfolders(root))


def _load_snapshot(
    root: Path, columns: Columns, names: SplitNames, config: str | None, cache_dir: str | None
) -> Splits:
    from earmark.sources.hub import HubSource, load_snapshot

    if config and (root / config).is_dir() and not (root / "README.md").is_file():
        root, config = root / config, None  # one folder for each configuration, without the card that would say so
    return load_snapshot(HubSource(str(root), config, cache_dir=cache_dir), columns, names)


# ---------------------------------------------------------------- tables in the folder


def _manifests_in(root: Path) -> list[Path]:
    return [root / name for name in files_in(root) if Path(name).suffix.casefold() in MANIFEST_SUFFIXES]


def _split_manifests(root: Path, names: SplitNames) -> dict[str, Path]:
    """Return the manifest of each split: ``train.csv``, or ``train_labels.csv`` if there is no such file.

    A lone Parquet file called ``train`` is one too.

    Raises:
        DataError: two are of the same split.
    """
    there = _manifests_in(root)
    found: dict[str, Path] = {}
    for split in SPLIT_NAMES:
        exact = [path for path in there if names.exactly(path.stem) == split]
        like = [path for path in there if names.of_table(path) == split and path.suffix != ".parquet"]
        paths = exact or like
        if len(paths) > 1:
            raise DataError(
                f"{root}: {paths[0].name} and {paths[1].name} are both the {split} split. Keep one, or name the files "
                "with --train_file, --eval_file and --test_file"
            )
        if paths:
            found[split] = paths[0]
    return found


def _load_manifests(root: Path, manifests: dict[str, Path], columns: Columns, names: SplitNames) -> Splits:
    """Read a manifest for each split; class folders beside them are for training if no manifest is."""
    splits = Splits()
    for split, path in manifests.items():
        try:
            table = load_manifest(path, columns)
        except MissingColumnError:
            if split != "test" or len(manifests) == 1 or not _lacks_labels(path, columns):
                raise
            splits.notes.append(f"{path}: has no labels, as for a competition, so there is no test split")
            continue
        found = splits_of_manifest(table, split, names, manifests)
        for name in SPLIT_NAMES:
            setattr(splits, name, getattr(found, name) or getattr(splits, name))
        splits.notes += found.notes
    if "train" in manifests:
        return splits
    layout = find_folder_layout(root, names, [str(path) for path in manifests.values()])
    classes = layout.places.get("train")
    if classes is None or metadata_file(classes.path) is not None:
        return splits
    train = load_layout(FolderLayout(layout.root, {"train": classes}, layout.notes, layout.skipped), columns)
    assert train.train is not None
    held_out = {str(Path(c.path).resolve()) for s in manifests for c in getattr(splits, s) if c.path is not None}
    rows = [i for i, clip in enumerate(train.train) if str(Path(str(clip.path)).resolve()) not in held_out]
    splits.train = train.train.keep(rows)
    used = and_more([path.name for path in manifests.values()])
    splits.notes += [
        *train.notes,
        f"{root}: {counted(len(rows), 'recording')} of the class folders are for training, those in {used} are not",
    ]
    return splits


def _lacks_labels(path: Path, columns: Columns) -> bool:
    """Return whether a table can be read if no label is asked for."""
    try:
        load_manifest(path, replace(columns, label=Columns.label, needs_labels=False))
    except DataError:
        return False
    return True


def _label_tables(root: Path, used: Collection[Path]) -> list[Path]:
    """Return the tables that may hold labels: all but JSON files of another name, which are settings more often."""
    tables = [path for path in _manifests_in(root) if path not in used]
    return [path for path in tables if path.suffix.casefold() != ".json" or is_table_name(path)]


def _load_labels_beside(layout: FolderLayout, columns: Columns, names: SplitNames) -> tuple[Splits, list[Path]]:
    """Read the table beside recordings that no folder gives a label.

    Raises:
        DataError: there is none, or several can be read.
    """
    tables = _label_tables(layout.root, [])
    if not tables:
        archives = _archives(layout.root)
        below = [path for name in subfolders(layout.root) for path in _label_tables(layout.root / name, [])]
        hints = [f"Note: {archives}"] if archives else []
        hints += [f"To use a table of a subfolder, add --train_file {below[0]}"] if below else []
        raise DataError(". ".join([str(layout.unlabelled), *hints]))
    if len(tables) > 1:
        raise DataError(
            f"{layout.unlabelled}. There are several tables: {and_more([path.name for path in tables])}. Name the one "
            "to use with --train_file (and --eval_file, --test_file)"
        )
    path = tables[0]
    try:
        table = load_manifest(path, columns)
    except DataError as exc:
        raise DataError(f"{layout.unlabelled}. {path.name} beside them cannot be used: {exc}") from exc
    splits = by_split(table, layout.root, names)
    splits.notes += [f"{layout.root}: labels and recordings are those in {path.name}", *_not_listed(layout, table)]
    return splits, [path]


def _not_listed(layout: FolderLayout, table: ClipTable) -> list[str]:
    listed = {str(Path(clip.path).resolve()) for clip in table if clip.path is not None}
    listing = list_recordings(layout.root)
    others = [path for path in listing.paths if str(Path(path).resolve()) not in listed]
    if not others:
        return []
    where = and_more([str(Path(path).relative_to(layout.root)) for path in others])
    return [f"{layout.root}: did not use {counted(len(others), 'recording')} that no row of the table names: {where}"]


def _unused(root: Path, used: Collection[Path]) -> list[str]:
    """Return a line for tables, lists and archives in a folder that were not used."""
    tables = [path.name for path in _label_tables(root, used)]
    lists = [name for name in files_in(root) if Path(name).suffix.casefold() in _LISTS and is_table_name(Path(name))]
    notes = []
    if tables:
        notes.append(
            f"{root}: did not use {and_more(tables, 6)}. Add --train_file, --eval_file or --test_file FILE to use one"
        )
    if lists:
        notes.append(
            f"{root}: did not use {and_more(lists, 6)}: lists and spreadsheets beside recordings are not read. Name a "
            "table with --train_file, or save a spreadsheet as CSV"
        )
    archives = _archives(root)
    return [*notes, f"{root}: {archives}"] if archives else notes


def _archives(root: Path) -> str:
    archives = [name for name in files_in(root) if is_archive(Path(name))]
    return f"archives are not read: {and_more(archives)}. Extract them to use their recordings" if archives else ""
