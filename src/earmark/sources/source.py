"""The contract of a source: one kind of data that the settings can name, how it is recognised and how it is loaded.

A source is one file with a subclass of :class:`Source`, and its line in :mod:`earmark.sources.source_registry`.
``tests/sources/test_toy_source.py`` is an example.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from earmark.clips.clip import Splits
from earmark.clips.columns import Columns
from earmark.clips.split_names import SplitNames
from earmark.settings.model_flags import PretrainedArguments
from earmark.sources.folder_layout import FolderLayout, find_folder_layout, unwrapped
from earmark.sources.folders import check_is_folder
from earmark.sources.listing import metadata_file, subfolders


@dataclass(frozen=True)
class HubAccess:
    """How data sets are downloaded.

    Attributes:
        token: for private data sets of the hub.
        cache_dir: where the hub's files go; ``None`` for the usual place.
    """

    token: str | None = None
    cache_dir: str | None = None

    @classmethod
    def from_flags(cls, flags: PretrainedArguments) -> HubAccess:
        """Return what flags say, those of any command."""
        return cls(flags.token, flags.cache_dir)


PUBLIC = HubAccess()


@dataclass(frozen=True)
class Request:
    """How data is to be read, whatever source it is.

    Attributes:
        columns: columns of tables, and how their cells are read.
        names: what the splits are called.
        config: configuration of a data set.
        revision: branch, tag or commit of a data set.
        hub: how data sets are downloaded.
        silence_percentage: silence of Speech Commands; ``None`` for that of SUPERB.
        seed: for silence that is cut at random.
        uses_folds: whether folds are made of all clips, so that columns of splits do not count.
        own_tables: splits that have a manifest of their own.
    """

    columns: Columns = field(default_factory=Columns)
    names: SplitNames = field(default_factory=SplitNames)
    config: str | None = None
    revision: str | None = None
    hub: HubAccess = PUBLIC
    silence_percentage: float | None = None
    seed: int = 0
    uses_folds: bool = False
    own_tables: tuple[str, ...] = ()


@dataclass(frozen=True)
class GivenData:
    """Data that a setting names.

    Attributes:
        name: the folder, manifest or data set, as it was given.
        request: how it is to be read.
        folder: its folder; ``None`` for a manifest, and for a data set that is not on this machine.
        split: the split that a manifest is given for; ``None`` if it is no manifest.
        dataset: the data set that ``--dataset_name`` names, which may be read from a folder.
    """

    name: str
    request: Request = field(default_factory=Request)
    folder: Path | None = None
    split: str | None = None
    dataset: str | None = None

    @cached_property
    def root(self) -> Path:
        """The folder with the data, below folders that hold nothing but one folder.

        Raises:
            DataError: there is no such folder.
        """
        assert self.folder is not None
        check_is_folder(self.folder)
        return unwrapped(self.folder, self.request.names)

    @cached_property
    def has_split_metadata(self) -> bool:
        """Whether a folder of a split has a metadata file of its own."""
        named = (name for name in subfolders(self.root) if self.request.names.like(name))
        return any(metadata_file(self.root / name) is not None for name in named)

    @cached_property
    def layout(self) -> FolderLayout:
        """Which of its folders are splits and classes.

        Raises:
            DataError: the folders have more than one meaning.
        """
        assert self.folder is not None
        return find_folder_layout(self.folder, self.request.names)


class Source(ABC):
    """One kind of data.

    Attributes:
        name: what it is, for messages.
        because: how it is recognised; completes "read as NAME because ...".
        settings: settings that have an effect with this source and not with every other.
    """

    name: ClassVar[str]
    because: ClassVar[str]
    settings: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def recognises(self, given: GivenData) -> bool:
        """Return whether this is what was given, unless a source before it in the registry takes it."""

    @abstractmethod
    def load(self, given: GivenData) -> Splits:
        """Return the clips, split by split.

        Raises:
            DataError: the data is not there or cannot be used.
        """
