"""Which source recognises what, and in which order they are asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from earmark.settings.data_flags import DataArguments
from earmark.sources.load_clips import load_own_splits
from earmark.sources.source import GivenData, Request
from earmark.sources.source_registry import SOURCES, find_source
from tests.sources.empty_files import touch


def saved(folder: Path) -> GivenData:
    touch(folder, "dataset_dict.json", "metadata.csv", "train.csv")
    return GivenData(str(folder), folder=folder)


def metadata(folder: Path) -> GivenData:
    touch(folder, "metadata.csv", "train.csv", "data.parquet", "owl/a.wav")
    return GivenData(str(folder), folder=folder)


def split_manifests(folder: Path) -> GivenData:
    touch(folder, "train.csv", "data.parquet", "owl/a.wav")
    return GivenData(str(folder), folder=folder)


def snapshot(folder: Path) -> GivenData:
    touch(folder, "data/shard-0.parquet", "owl/a.wav")
    return GivenData(str(folder), folder=folder)


def class_folders(folder: Path) -> GivenData:
    touch(folder, "owl/a.wav", "bat/b.wav", "labels.csv")
    return GivenData(str(folder), folder=folder)


def table_beside(folder: Path) -> GivenData:
    touch(folder, "a.wav", "b.wav", "labels.csv")
    return GivenData(str(folder), folder=folder)


def superb(folder: Path) -> GivenData:
    touch(folder, "owl/a.wav")
    return GivenData(str(folder), Request(config="ks"), folder, dataset="superb")


def superb_tables(folder: Path) -> GivenData:
    touch(folder, "data/shard-0.parquet")
    return GivenData(str(folder), Request(config="ks"), folder, dataset="superb")


def manifest(folder: Path) -> GivenData:
    return GivenData(str(folder / "a.csv"), split="train")


def hub(folder: Path) -> GivenData:
    return GivenData("someone/birds", dataset="someone/birds")


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (superb, "SuperbKeywords"), (superb_tables, "Snapshot"), (hub, "HubDataset"), (manifest, "ManifestFile"),
        (saved, "SavedDataset"), (metadata, "MetadataFile"), (split_manifests, "SplitManifests"),
        (snapshot, "Snapshot"), (class_folders, "ClassFolders"), (table_beside, "TableBeside"),
    ],
)  # fmt: skip
def test_the_first_source_that_recognises_it_takes_it(
    make: Callable[[Path], GivenData], name: str, tmp_path: Path
) -> None:
    assert type(find_source(make(tmp_path))).__name__ == name


def test_every_source_says_what_it_is() -> None:
    assert len({source.name for source in SOURCES}) == len(SOURCES)
    known = DataArguments.__dataclass_fields__
    assert all(source.because and all(name in known for name in source.settings) for source in SOURCES)


def test_a_setting_that_the_source_does_not_use_is_noted(tmp_path: Path) -> None:
    touch(tmp_path, "owl/a.wav", "bat/b.wav")
    splits = load_own_splits(DataArguments(data_dir=str(tmp_path), silence_percentage=10.0), seed=0)
    assert splits.notes[0] == "--silence_percentage has no effect: only SUPERB keyword spotting uses it"
    assert load_own_splits(DataArguments(data_dir=str(tmp_path)), seed=0).notes == []
