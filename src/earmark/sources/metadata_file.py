"""A folder whose recordings are listed in ``metadata.csv``, ``metadata.jsonl`` or ``metadata.parquet``."""

from __future__ import annotations

from earmark.clips.clip import Splits
from earmark.sources.folders import load_metadata
from earmark.sources.listing import metadata_file
from earmark.sources.source import GivenData, Source
from earmark.sources.unused_files import note_unused


class MetadataFile(Source):
    """An "audiofolder" of the package ``datasets`` with one metadata file for all splits."""

    name = "recordings with a metadata file"
    because = "it contains a metadata file"

    def recognises(self, given: GivenData) -> bool:
        """Return whether the folder has a metadata file."""
        return given.folder is not None and metadata_file(given.root) is not None

    def load(self, given: GivenData) -> Splits:
        """Return the clips listed in the file."""
        path = metadata_file(given.root)
        assert path is not None
        splits = load_metadata(given.root, given.request.names, given.request.columns)
        return note_unused(splits, given.root, [path])
