"""A manifest for one split: a table in any format, given with ``--train_file``, ``--eval_file`` or ``--test_file``."""

from __future__ import annotations

from earmark.clips.clip import Splits
from earmark.clips.split_columns import splits_of_manifest, use_whole_table
from earmark.sources.manifests import load_manifest
from earmark.sources.source import GivenData, Source


class ManifestFile(Source):
    """A table with one clip per row. :mod:`earmark.formats` reads the file."""

    name = "a manifest"
    because = "a flag for manifests names it"

    def recognises(self, given: GivenData) -> bool:
        """Return whether the data is given for one split."""
        return given.split is not None

    def load(self, given: GivenData) -> Splits:
        """Return the clips of the table, divided by its split column unless folds are made."""
        assert given.split is not None
        request = given.request
        table = load_manifest(given.name, request.columns)
        if request.uses_folds:
            return use_whole_table(table, given.split, request.names)
        return splits_of_manifest(table, given.split, request.names, request.own_tables)
