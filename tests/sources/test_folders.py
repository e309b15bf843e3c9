"""Class folders and audiofolders."""

from __future__ import annotations

from pathlib import Path

import pytest

from earmark.clips.clip import ClipTable
from earmark.clips.columns import Columns
from earmark.clips.split_names import SplitNames
from earmark.errors import DataError
from earmark.sources.folders import check_is_folder, load_folder
from tests.sources.empty_files import touch

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def rows(table: ClipTable | None, folder: Path) -> list[tuple[str, str | None]]:
    assert table is not None
    assert all(clip.path == clip.source for clip in table)
    return [(str(Path(clip.source).relative_to(folder)), clip.label) for clip in table]


def test_class_folders_alone_are_training_data_in_a_fixed_order(tmp_path):
    touch(tmp_path, "yes/b.WAV", "yes/a.flac", "no/speaker/c.mp3", "no/a.ogg")
    splits = load_folder(tmp_path)
    assert rows(splits.train, tmp_path) == [
        ("no/a.ogg", "no"), ("no/speaker/c.mp3", "no"), ("yes/a.flac", "yes"), ("yes/b.WAV", "yes"),
    ]  # fmt: skip
    assert splits.validation is None
    assert splits.test is None
    assert splits.notes == []


@pytest.mark.parametrize("validation", ["validation", "val", "valid", "dev", "Dev"])
def test_folders_of_splits(validation, tmp_path):
    touch(tmp_path, "train/a/1.wav", "train/b/2.wav", f"{validation}/a/3.wav", "test/b/4.wav", "notes/x.txt")
    splits = load_folder(tmp_path)
    assert rows(splits.train, tmp_path) == [("train/a/1.wav", "a"), ("train/b/2.wav", "b")]
    assert rows(splits.validation, tmp_path) == [(f"{validation}/a/3.wav", "a")]
    assert rows(splits.test, tmp_path) == [("test/b/4.wav", "b")]
    assert splits.notes == [f"{tmp_path}: skipped 1 file without an audio suffix: 1 .txt (notes/x.txt)"]


def test_splits_of_another_name(tmp_path):
    touch(tmp_path, "train/a/1.wav", "fold1/a/2.wav", "validation/a/3.wav")
    splits = load_folder(tmp_path, SplitNames(validation="fold1"))
    assert rows(splits.validation, tmp_path) == [("fold1/a/2.wav", "a")]


def test_a_class_called_train_has_to_be_named_one(tmp_path):
    touch(tmp_path, "train/1.wav", "train/steam/2.wav", "plane/3.wav", "test/4.wav")
    with pytest.raises(DataError, match=r"train \(2 recordings\) and test \(1 recording\) look like splits.*plane"):
        load_folder(tmp_path)
    splits = load_folder(tmp_path, SplitNames(train="none", test="none"))
    assert splits.train.label_counts() == {"train": 2, "plane": 1, "test": 1}
    assert splits.test is None


def test_two_validation_folders_are_one_too_many(tmp_path):
    touch(tmp_path, "train/a/1.wav", "val/a/1.wav", "dev/a/1.wav")
    with pytest.raises(DataError, match="dev and val are both the validation split"):
        load_folder(tmp_path)


def test_what_is_passed_over_is_said(tmp_path):
    touch(
        tmp_path,
        "a/1.wav",
        "a/notes.txt",
        "a/x/readme.TXT",
        "a/README",
        "b/2.wav",
        "c/notes.txt",
        "loose.wav",
    )
    touch(tmp_path, ".hidden/1.wav", "a/.DS_Store", "_background_noise_/rain.wav")
    splits = load_folder(tmp_path)
    assert splits.train.labels() == ["a", "b"]
    noise, empty, loose, others, hidden = splits.notes
    assert "--dataset_name superb" in noise
    assert empty == f"{tmp_path}/c: has no recordings, so there is no class 'c'"
    assert loose == f"{tmp_path}: did not use 1 recording outside class folders (loose.wav)"
    assert others == (
        f"{tmp_path}: skipped 4 files without an audio suffix: 3 .txt (a/notes.txt), 1 without suffix (a/README)"
    )
    assert hidden == f"{tmp_path}: did not search system and hidden folders: .hidden"


def test_links_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path / "elsewhere", "1.wav")
    touch(tmp_path / "data", "b/2.wav")
    (tmp_path / "data" / "a").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "b" / "up").symlink_to(tmp_path / "data" / "b")
    assert rows(load_folder(tmp_path / "data").train, tmp_path / "data") == [
        ("a/1.wav", "a"),
        ("b/2.wav", "b"),
    ]


def test_audiofolder(tmp_path):
    touch(tmp_path, "clips/1.wav", "2.wav")
    (tmp_path / "metadata.csv").write_text("file_name,text,label,who\nclips/1.wav,hello,a,s1\n2.wav,bye,b,s2\n")
    table = load_folder(tmp_path, columns=Columns(group="who")).train
    assert [(clip.path, clip.label, clip.group) for clip in table] == [
        (str(tmp_path / "clips/1.wav"), "a", "s1"), (str(tmp_path / "2.wav"), "b", "s2"),
    ]  # fmt: skip


def test_audiofolder_with_a_file_a_split(tmp_path):
    touch(tmp_path, "train/1.wav", "val/2.wav")
    (tmp_path / "train/metadata.jsonl").write_text('{"file_name": "1.wav", "label": "a"}\n')
    (tmp_path / "val/metadata.csv").write_text("file_name,label\n2.wav,b\n")
    splits = load_folder(tmp_path)
    assert (splits.train[0].path, splits.train[0].label) == (str(tmp_path / "train/1.wav"), "a")
    assert (splits.validation[0].path, splits.validation[0].label) == (str(tmp_path / "val/2.wav"), "b")


def test_audiofolder_with_one_file_for_all_splits(tmp_path):
    touch(tmp_path, "train/1.wav", "test/2.wav")
    (tmp_path / "metadata.csv").write_text("file_name,label\ntrain/1.wav,a\ntest/2.wav,b\n")
    splits = load_folder(tmp_path)
    assert ([c.label for c in splits.train], splits.validation, [c.label for c in splits.test]) == (
        ["a"],
        None,
        ["b"],
    )


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "no class folders with recordings in them"),
        (["1.wav", "2.wav"], "2 recordings but no class folders"),
        (["a/1.txt"], "no class folders with recordings in them"),
        (["metadata.csv", "metadata.jsonl", "1.wav"], "Keep one of them"),
    ],
)
def test_nothing_to_learn_from(names, said, tmp_path):
    with pytest.raises(DataError) as caught:
        load_folder(touch(tmp_path, *names))
    assert said in str(caught.value)


def test_no_such_folder(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        load_folder(tmp_path / "missing")
    with pytest.raises(DataError, match="is a file, not a folder"):
        load_folder(touch(tmp_path, "a.wav") / "a.wav")


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the real recordings are not beside the checkout")
def test_the_real_recordings():
    splits = load_folder(SHARED / "speech_commands_12")
    assert len(splits.train.labels()) == 12
    assert splits.train.labels() == splits.validation.labels()
    assert len(splits.train) == 2634


def test_a_wrong_folder_name_is_answered_with_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings.csv").write_text("")
    with pytest.raises(DataError, match=r"recrdings: no such folder; did you mean .*/recordings\?$"):
        check_is_folder(tmp_path / "recrdings")
    with pytest.raises(DataError, match=r"recordings\.csv: is a file, not a folder"):
        check_is_folder(tmp_path / "recordings.csv")
