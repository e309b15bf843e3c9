"""One folder of data, read by what is in it."""

from __future__ import annotations

from pathlib import Path

from earmark.data.clips import Splits
from earmark.data.columns import Columns
from earmark.data.decode import AUDIO_SUFFIXES
from earmark.data.folders import (
    SPLIT_NAMES,
    SplitNames,
    has_split_metadata,
    is_class_folder_tree,
    load_folder,
    metadata_file,
)
from earmark.data.manifests import MANIFEST_SUFFIXES, load_manifest
from earmark.errors import DataError

_SAVED = ("dataset_dict.json", "state.json")  # files that save_to_disk writes beside its tables


def load_data_dir(
    folder: str, columns: Columns, names: SplitNames, *, config: str | None = None, cache_dir: str | None = None
) -> Splits:
    """Load a folder by what is in it.

    Looked for, in this order: a table written by ``save_to_disk``; ``metadata.csv|jsonl|parquet``, in the folder or
    in those of the splits; a manifest for each split (``train.csv``, ``validation.jsonl``...); a snapshot of a hub
    data set with Parquet files; class folders.

    Raises:
        DataError: none of these, or what is there cannot serve.
        MissingExtraError: the folder needs the package ``datasets``.
    """
    root = Path(folder)
    if root.is_dir():
        if any((root / name).is_file() for name in _SAVED):
            from earmark.data.hub import load_saved

            return load_saved(root, columns, names)
        if metadata_file(root) is not None or has_split_metadata(root, names):
            return load_folder(root, names, columns)
        manifests = _split_manifests(root, names)
        if manifests:
            splits = Splits()
            for split, path in manifests.items():
                setattr(splits, split, load_manifest(path, columns))
            return splits
        if is_table_folder(root):
            return _load_snapshot(root, columns, names, config, cache_dir)
        if not _has_loose_recordings(root) and not is_class_folder_tree(root, names):
            raise DataError(
                f"{root}: nothing to learn from. Looked for class folders with recordings (also under train/, "
                "validation/, test/), metadata.csv or .jsonl, a manifest a split (train.csv), Parquet files, and a "
                "save_to_disk folder"
            )
    return load_folder(root, names, columns)


def is_table_folder(root: Path) -> bool:
    """Whether Parquet files or a ``save_to_disk`` table lie in ``root``, Parquet up to two folders down."""
    if any((root / name).is_file() for name in _SAVED):
        return True
    return any(next(root.glob(pattern), None) is not None for pattern in ("*.parquet", "*/*.parquet", "*/*/*.parquet"))


def is_unlabelled_folder(root: Path, names: SplitNames) -> bool:
    """Whether recordings lie right in ``root`` and nothing there says what they are."""
    tables = (
        metadata_file(root) is not None
        or has_split_metadata(root, names)
        or bool(_split_manifests(root, names))
        or is_table_folder(root)
    )
    return not tables and _has_loose_recordings(root) and not is_class_folder_tree(root, names)


def _has_loose_recordings(root: Path) -> bool:
    return any(path.suffix.casefold() in AUDIO_SUFFIXES for path in root.iterdir())


def _load_snapshot(
    root: Path, columns: Columns, names: SplitNames, config: str | None, cache_dir: str | None
) -> Splits:
    from earmark.data.hub import HubSource, load_snapshot

    if config and (root / config).is_dir() and not (root / "README.md").is_file():
        root, config = root / config, None  # one folder for each configuration, without the card that would say so
    return load_snapshot(HubSource(str(root), config, cache_dir=cache_dir), columns, names)


def _split_manifests(root: Path, names: SplitNames) -> dict[str, Path]:
    """Manifests in ``root`` called like a split. A lone Parquet file called ``train`` is one too."""
    found: dict[str, Path] = {}
    there = sorted(path for path in root.iterdir() if path.suffix.casefold() in MANIFEST_SUFFIXES and path.is_file())
    for split in SPLIT_NAMES:
        stems = [name.casefold() for name in names.of(split)]
        paths = [path for path in there if path.stem.casefold() in stems]
        if len(paths) > 1:
            raise DataError(f"{root}: {paths[0].name} and {paths[1].name} are both the {split} split; keep one")
        if paths:
            found[split] = paths[0]
    return found
