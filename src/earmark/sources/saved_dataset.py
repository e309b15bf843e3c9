"""Folders written by ``save_to_disk`` of the package ``datasets``."""

from __future__ import annotations

from pathlib import Path

from earmark.clips.clip import Splits
from earmark.clips.split_columns import splits_of_manifest
from earmark.extras import require
from earmark.formats.arrow_table import dataset_errors
from earmark.formats.parquet import PARQUET
from earmark.sources.dataset_splits import dataset_clips, dataset_splits
from earmark.sources.source import GivenData, Source

_SAVED = ("dataset_dict.json", "state.json")  # save_to_disk writes them next to its tables


def is_saved_table(root: Path) -> bool:
    """Return whether ``save_to_disk`` wrote the folder."""
    return any((root / name).is_file() for name in _SAVED)


def is_table_folder(root: Path) -> bool:
    """Return whether ``root`` has a ``save_to_disk`` table, or Parquet files in it or up to two folders below."""
    patterns = [f"{folders}*{suffix}" for suffix in PARQUET.suffixes for folders in ("", "*/", "*/*/")]
    return is_saved_table(root) or any(next(root.glob(pattern), None) is not None for pattern in patterns)


class SavedDataset(Source):
    """A ``Dataset`` or a ``DatasetDict`` on disk."""

    name = "a data set written by save_to_disk"
    because = f"{' or '.join(_SAVED)} is in the folder"
    settings = ("dataset_config_name",)  # allowed, because --dataset_name superb needs it even for a saved folder

    def recognises(self, given: GivenData) -> bool:
        """Return whether the folder has the files of ``save_to_disk``."""
        return given.folder is not None and is_saved_table(given.folder)

    def load(self, given: GivenData) -> Splits:
        """Return the clips without reading their recordings.

        Raises:
            DataError: the split or column does not exist, or the files cannot be read.
            MissingExtraError: the package ``datasets`` is not installed.
        """
        datasets = require("datasets")
        folder, request = str(given.folder), given.request
        with dataset_errors(folder):
            tables = datasets.load_from_disk(folder)
        if isinstance(tables, datasets.Dataset):
            clips = dataset_clips(tables, folder, folder, request.columns)
            return splits_of_manifest(clips, "train", request.names)
        return dataset_splits(tables, folder, folder, request.columns, request.names)
