"""A table with any name next to recordings that have no class folders, such as ``labels.csv``."""

from __future__ import annotations

from pathlib import Path

from earmark.clips.clip import ClipTable, Splits
from earmark.errors import DataError
from earmark.sources.folder_layout import FolderLayout
from earmark.sources.folders import by_split
from earmark.sources.listing import list_recordings, subfolders
from earmark.sources.manifests import load_manifest
from earmark.sources.source import GivenData, Source
from earmark.sources.unused_files import archives_note, label_tables, note_unused
from earmark.text import and_more, counted


class TableBeside(Source):
    """The only table of a folder whose recordings have no other labels. The last source to try for a folder."""

    name = "a table next to recordings"
    because = "its recordings have no class folders"

    def recognises(self, given: GivenData) -> bool:
        """Return whether the data is a folder that no earlier source has recognised."""
        return given.folder is not None

    def load(self, given: GivenData) -> Splits:
        """Return the clips listed in the table.

        Raises:
            DataError: there is no table, or more than one.
        """
        layout, request = given.layout, given.request
        path = _only_table(layout)
        try:
            table = load_manifest(path, request.columns)
        except DataError as exc:
            raise DataError(f"{layout.unlabelled}. The table in this folder cannot be used: {exc}") from exc
        splits = by_split(table, layout.root, request.names)
        splits.notes += [f"{layout.root}: labels and recordings come from {path.name}", *_not_listed(layout, table)]
        return note_unused(splits, given.root, [path])


def _only_table(layout: FolderLayout) -> Path:
    tables = label_tables(layout.root)
    if not tables:
        archives = archives_note(layout.root)
        below = [path for name in subfolders(layout.root) for path in label_tables(layout.root / name)]
        hints = [f"Note: {archives}"] if archives else []
        hints += [f"To use a table of a subfolder, add --train_file {below[0]}"] if below else []
        raise DataError(". ".join([str(layout.unlabelled), *hints]))
    if len(tables) > 1:
        raise DataError(
            f"{layout.unlabelled}. There are several tables: {and_more([path.name for path in tables])}. Name the one "
            "to use with --train_file (and --eval_file, --test_file)"
        )
    return tables[0]


def _not_listed(layout: FolderLayout, table: ClipTable) -> list[str]:
    listed = {str(Path(clip.path).resolve()) for clip in table if clip.path is not None}
    listing = list_recordings(layout.root)
    others = [path for path in listing.paths if str(Path(path).resolve()) not in listed]
    if not others:
        return []
    where = and_more([str(Path(path).relative_to(layout.root)) for path in others])
    return [f"{layout.root}: did not use {counted(len(others), 'recording')} that no row of the table names: {where}"]
