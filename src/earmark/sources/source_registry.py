"""All sources, in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from earmark.clips.clip import Splits
from earmark.formats.sheet import Reason
from earmark.settings.kinds import alternatives
from earmark.sources.class_folders import ClassFolders
from earmark.sources.hub import HubDataset
from earmark.sources.manifest_file import ManifestFile
from earmark.sources.metadata_file import MetadataFile
from earmark.sources.saved_dataset import SavedDataset
from earmark.sources.snapshot import Snapshot
from earmark.sources.source import GivenData, Request, Source
from earmark.sources.split_manifests import SplitManifests
from earmark.sources.superb_ks import SuperbKeywords
from earmark.sources.table_beside import TableBeside

SOURCES: tuple[Source, ...] = (
    SuperbKeywords(),
    HubDataset(),
    ManifestFile(),
    SavedDataset(),
    MetadataFile(),
    SplitManifests(),
    Snapshot(),
    ClassFolders(),
    TableBeside(),
)


def find_source(given: GivenData) -> Source:
    """Return the first source that recognises the data. The last source accepts every folder.

    Raises:
        DataError: the folder does not exist, or its content has more than one meaning.
    """
    return next(source for source in SOURCES if source.recognises(given))


def load_given(given: GivenData, source: Source | None = None) -> Splits:
    """Return the clips of a data set, folder or manifest.

    Args:
        given: a data set, folder or manifest.
        source: its source, if already known.

    Raises:
        DataError: the data does not exist, or cannot be used.
        MissingExtraError: the source needs a package that is not installed.
        NetworkError: the hub is needed and cannot be reached.
    """
    source = source or find_source(given)
    splits = source.load(given)
    splits.reasons.insert(0, Reason(f"{given.name}: read as {source.name} because {source.because}"))
    return splits


def load_data_dir(folder: str, request: Request) -> Splits:
    """Return the clips of a folder of any kind.

    Raises:
        DataError: the folder does not exist, or cannot be used.
        MissingExtraError: the source needs a package that is not installed.
    """
    return load_given(GivenData(folder, request, Path(folder)))


def settings_without_effect(names: Iterable[str], used: Iterable[Source]) -> list[str]:
    """Return a note for each setting that none of the loaded sources uses.

    Args:
        names: settings that the user gave.
        used: sources that are loaded.
    """
    effective = {name for source in used for name in source.settings}
    users = {name: [source.name for source in SOURCES if name in source.settings] for name in names}
    return [
        f"--{name} has no effect: only {alternatives(sources)} uses it"
        for name, sources in users.items()
        if sources and name not in effective
    ]
