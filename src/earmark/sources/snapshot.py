"""A local copy of a data set on the hub, as Parquet files in its layout."""

from __future__ import annotations

from earmark.clips.clip import Splits
from earmark.extras import require
from earmark.sources.dataset_splits import dataset_splits, hub_errors
from earmark.sources.saved_dataset import is_table_folder
from earmark.sources.source import GivenData, Source


class Snapshot(Source):
    """A folder of Parquet files with a dataset card, or with one folder per configuration."""

    name = "a snapshot of a data set"
    because = "Parquet files are in the folder"
    settings = ("dataset_config_name",)

    def recognises(self, given: GivenData) -> bool:
        """Return whether the folder has Parquet files, and no folder of a split has its own metadata file."""
        return given.folder is not None and not given.has_split_metadata and is_table_folder(given.root)

    def load(self, given: GivenData) -> Splits:
        """Return the clips without reading their recordings.

        Raises:
            DataError: the configuration, split or column does not exist, or the files cannot be read.
            MissingExtraError: the package ``datasets`` is not installed.
        """
        datasets = require("datasets")
        root, config, request = given.root, given.request.config, given.request
        if config and (root / config).is_dir() and not (root / "README.md").is_file():
            root, config = root / config, None  # one folder per configuration, but no card that lists them
        with hub_errors(str(root)):
            tables = datasets.load_dataset(str(root), config, cache_dir=request.hub.cache_dir)
        return dataset_splits(tables, str(root), str(root), request.columns, request.names)
