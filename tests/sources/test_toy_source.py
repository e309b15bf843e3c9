"""How to add a source: one file like this one, and its line in :data:`earmark.sources.source_registry.SOURCES`."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from earmark.clips.clip import Clip, ClipTable, Splits
from earmark.errors import DataError
from earmark.settings.data_flags import DataArguments
from earmark.sources import source_registry
from earmark.sources.load_clips import load_own_splits
from earmark.sources.source import GivenData, Source

# ---------------------------------------------------------------- the file of the source

_DATABASE = "annotations.sqlite"


class AnnotationDatabase(Source):
    """An SQLite database beside the recordings, with a table ``clips``."""

    name = "recordings with a database of annotations"
    because = f"{_DATABASE} is in the folder"

    def recognises(self, given: GivenData) -> bool:
        """Return whether the database is there."""
        return given.folder is not None and (given.folder / _DATABASE).is_file()

    def load(self, given: GivenData) -> Splits:
        """Return the clips of all splits that the table names."""
        assert given.folder is not None
        try:
            with closing(sqlite3.connect(given.folder / _DATABASE)) as database:
                rows = database.execute("select split, path, start_s, length_s, label from clips").fetchall()
        except sqlite3.Error as exc:
            raise DataError(f"{given.folder / _DATABASE}: cannot be read ({exc})") from exc
        splits = Splits()
        for name in ("train", "validation", "test"):
            clips = [
                Clip(path, label, str(given.folder / path), offset_s=start_s, duration_s=length_s)
                for split, path, start_s, length_s, label in rows
                if split == name
            ]
            setattr(splits, name, ClipTable(clips, f"{given.name} {name}") if clips else None)
        return splits


# ---------------------------------------------------------------- what follows from it


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(source_registry, "SOURCES", (AnnotationDatabase(), *source_registry.SOURCES))
    with closing(sqlite3.connect(tmp_path / _DATABASE)) as database:
        database.execute("create table clips (split, path, start_s, length_s, label)")
        rows = [
            ("train", "a.wav", 0.5, 1.0, "owl"),
            ("train", "b.wav", 0.0, None, "bat"),
            ("test", "c.wav", 0, 1, "owl"),
        ]
        database.executemany("insert into clips values (?, ?, ?, ?, ?)", rows)
        database.commit()
    return tmp_path


def test_it_takes_precedence_and_is_explained(database: Path) -> None:
    (database / "metadata.csv").write_text("file_name,label\nx.wav,x\n")
    splits = load_own_splits(DataArguments(data_dir=str(database)), seed=0)
    assert splits.train is not None
    assert splits.test is not None
    assert splits.validation is None
    assert [(clip.label, clip.offset_s, clip.duration_s) for clip in splits.train] == [
        ("owl", 0.5, 1),
        ("bat", 0, None),
    ]
    said = f"{database}: read as recordings with a database of annotations because annotations.sqlite is in the folder"
    assert said in [reason.text for reason in splits.reasons]


def test_it_is_combined_with_other_sources(database: Path, tmp_path: Path) -> None:
    (tmp_path / "more.csv").write_text("path,label\nd.wav,owl\n")
    (tmp_path / "d.wav").touch()
    splits = load_own_splits(DataArguments(data_dir=str(database), train_file=str(tmp_path / "more.csv")), seed=0)
    assert splits.train is not None
    assert [clip.source for clip in splits.train] == ["a.wav", "b.wav", "d.wav"]
