"""The interface of a source: one kind of data, how to recognise it and how to load it.

A source is a file with a subclass of :class:`Source` and a line in :mod:`earmark.sources.source_registry`. See
``tests/sources/test_toy_source.py`` for an example.
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
from earmark.sources.folder_layout import FolderLayout, find_folder_layout, open_single_folders
from earmark.sources.folders import check_is_folder
from earmark.sources.listing import metadata_file, subfolders


@dataclass(frozen=True)
class HubAccess:
    """Access to the hub.

    Attributes:
        token: access token for private data sets.
        cache_dir: folder for files from the hub; ``None`` for the default.
    """

    token: str | None = None
    cache_dir: str | None = None

    @classmethod
    def from_flags(cls, flags: PretrainedArguments) -> HubAccess:
        """Return the access given by the flags of any command."""
        return cls(flags.token, flags.cache_dir)


PUBLIC = HubAccess()


@dataclass(frozen=True)
class Request:
    """How to read data, for any source.

    Attributes:
        columns: columns of tables, and how to read their cells.
        names: names of the splits.
        config: configuration of a data set.
        revision: branch, tag or commit of a data set.
        hub: access to the hub.
        silence_percentage: amount of silence for Speech Commands; ``None`` for the silence of SUPERB.
        seed: seed for random cuts of silence.
        uses_folds: whether folds are made from all clips, so that split columns are ignored.
        own_tables: splits with their own manifest.
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
    """Data named by a setting.

    Attributes:
        name: folder, manifest or data set as the user gave it.
        request: how to read it.
        folder: its folder; ``None`` for a manifest, and for a data set that is not on this machine.
        split: split of a manifest; ``None`` if it is not a manifest.
        dataset: data set named by ``--dataset_name``, which may be read from a folder.
    """

    name: str
    request: Request = field(default_factory=Request)
    folder: Path | None = None
    split: str | None = None
    dataset: str | None = None

    @cached_property
    def root(self) -> Path:
        """Return the folder with the data, after opening folders that contain only one folder.

        Raises:
            DataError: the folder does not exist.
        """
        assert self.folder is not None
        check_is_folder(self.folder)
        return open_single_folders(self.folder, self.request.names)

    @cached_property
    def has_split_metadata(self) -> bool:
        """Whether the folder of a split has its own metadata file."""
        named = (name for name in subfolders(self.root) if self.request.names.like(name))
        return any(metadata_file(self.root / name) is not None for name in named)

    @cached_property
    def layout(self) -> FolderLayout:
        """Return which of its folders are splits and classes.

        Raises:
            DataError: the folders have more than one meaning.
        """
        assert self.folder is not None
        return find_folder_layout(self.folder, self.request.names)


class Source(ABC):
    """One kind of data.

    Attributes:
        name: its name in messages.
        because: how it is recognised; completes "read as NAME because ...".
        settings: settings that only have an effect with some sources, including this one.
    """

    name: ClassVar[str]
    because: ClassVar[str]
    settings: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def recognises(self, given: GivenData) -> bool:
        """Return whether the data is of this kind, unless an earlier source in the registry takes it."""

    @abstractmethod
    def load(self, given: GivenData) -> Splits:
        """Return the clips, split by split.

        Raises:
            DataError: the data does not exist or cannot be used.
        """
