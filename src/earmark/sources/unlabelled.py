"""Folders of unlabelled recordings, for commands that do not need labels."""

from __future__ import annotations

from pathlib import Path

from earmark.clips.clip import Clip, ClipTable, Splits
from earmark.clips.split_names import SplitNames
from earmark.clips.subsets import draw
from earmark.errors import DataError, UsageError
from earmark.settings.data_flags import DataArguments, paths_in
from earmark.sources.given_data import MANIFEST_FLAGS, split_names
from earmark.sources.listing import list_recordings
from earmark.sources.source import GivenData, Request
from earmark.sources.source_registry import find_source
from earmark.sources.table_beside import TableBeside
from earmark.sources.unused_files import label_tables


def load_unlabelled(options: DataArguments, *, seed: int, anyway: bool = False) -> Splits | None:
    """Load the recordings of folders without labels as training clips, for commands that do not need labels.

    Args:
        options: the recordings.
        seed: seed for ``max_train_samples``.
        anyway: treat all recordings in the folders as unlabelled, even with class folders.

    Returns:
        ``None`` if :func:`earmark.sources.load_clips.load_splits` would find labels or raise an error about them, or if
        other sources are combined with the folders.

    Raises:
        UsageError: settings that need labels or columns; ``anyway`` without a folder, or with other sources.
        DataError: the folders have no recordings.
    """
    roots = [Path(folder) for folder in paths_in(options.data_dir)]
    there = bool(roots) and all(root.is_dir() for root in roots)
    if not there or not (anyway or all(_is_unlabelled(root, split_names(options)) for root in roots)):
        if anyway:
            raise UsageError("--unlabelled needs a folder of recordings. Add --data_dir FOLDER")
        return None
    origin = ", ".join(map(str, roots))
    others = [name for name in ("dataset_name", *MANIFEST_FLAGS) if getattr(options, name) is not None]
    if others and anyway:
        raise UsageError(
            f"--unlabelled with recordings of {origin} cannot be used with --{others[0]}. Remove one of the flags"
        )
    if others:
        return None
    for name in ("group_column", "fold_column", "folds", "shots"):
        if getattr(options, name) is not None:
            raise UsageError(f"--{name}: {origin} has recordings without labels and columns. Remove the flag")
    listings = [list_recordings(root) for root in roots]
    table = ClipTable([Clip(source=path, path=path) for listing in listings for path in listing.paths], origin)
    notes = [note for listing in listings for note in listing.skipped.notes(listing.root)]
    if not table:
        raise DataError(f"{'; '.join([f'{origin}: no recordings found', *notes])}. Fix --data_dir")
    splits = Splits(train=table, notes=notes)
    draw(splits, "train", options.max_train_samples, seed, "--max_train_samples")
    return splits


def _is_unlabelled(root: Path, names: SplitNames) -> bool:
    """Return whether recordings are directly in one folder and nothing there labels them."""
    given = GivenData(str(root), Request(names=names), root)
    try:
        is_last = isinstance(find_source(given), TableBeside)
    except DataError:  # reported when the labels are loaded
        return False
    return is_last and given.layout.is_loose and not label_tables(given.layout.root)
