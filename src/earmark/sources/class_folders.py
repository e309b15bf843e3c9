"""Folders of recordings, one per class, optionally below folders of splits."""

from __future__ import annotations

from earmark.clips.clip import Splits
from earmark.sources.folders import load_layout
from earmark.sources.source import GivenData, Source
from earmark.sources.unused_files import note_unused


class ClassFolders(Source):
    """Source where the name of a folder is the class of the recordings in it."""

    name = "class folders"
    because = "its recordings are in folders and no table lists them"

    def recognises(self, given: GivenData) -> bool:
        """Return whether the folders label the recordings."""
        return given.folder is not None and given.layout.unlabelled is None

    def load(self, given: GivenData) -> Splits:
        """Return the clips of all class folders."""
        return note_unused(load_layout(given.layout, given.request.columns), given.root)
