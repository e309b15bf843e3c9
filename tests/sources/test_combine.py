"""Several sources as one: what is added up, which copy is kept, which label counts, and what is refused."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from earmark.clips.clip import ClipTable, Splits
from earmark.errors import DataError, UsageError
from earmark.settings.data_flags import DataArguments
from earmark.sources.folders import load_folder
from earmark.sources.load_clips import load_folds, load_splits
from earmark.sources.manifests import load_manifest
from earmark.store.usable import keep_usable
from tests.tiny import RATE_HZ, tone

Rows = list[tuple[str, str]]


def recording(path: Path, seed: int, seconds: float = 0.2, **how: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(300 + 40 * seed, seconds, seed=seed), RATE_HZ, **how)
    return path


def class_folders(folder: Path, per_class: int = 4, labels: str = "ab", first_seed: int = 0) -> Path:
    for i in range(per_class * len(labels)):
        label = labels[i % len(labels)]
        recording(folder / label / f"{first_seed + i}.wav", first_seed + i)
    return folder


def manifest(path: Path, rows: Rows, columns: str = "path,label") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(columns + "\n" + "".join(",".join(row) + "\n" for row in rows))
    return str(path)


def load(seed: int = 0, **settings: Any) -> Splits:
    return load_splits(DataArguments(**settings), seed=seed)


def labels(table: ClipTable | None) -> dict[str, Any]:
    """Label by file name."""
    assert table is not None
    return {Path(clip.path or "").name: clip.label for clip in table}


def test_a_folder_and_a_manifest_are_added_up(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "old", per_class=10)
    for i in range(6):
        recording(tmp_path / "new" / f"n{i}.wav", 100 + i)
    rows = [(f"../new/n{i}.wav", "bc"[i % 2]) for i in range(6)]
    path = manifest(tmp_path / "labels" / "labels.csv", rows)
    splits = load(data_dir=str(folder), train_file=path, validation_fraction=0.25)
    everything = {**labels(splits.train), **labels(splits.validation)}
    assert len(everything) == len(splits.train) + len(splits.validation) == 26
    assert everything["n0.wav"] == "b"
    # the split is made over all of them: each class of either source is judged
    assert set(splits.validation.labels()) == {"a", "b", "c"}
    assert splits.notes[0] == (
        f"sources combined: {folder} (20 training clips; 2 classes), {path} (6 training clips; 2 classes, new: c)"
    )
    assert f"{folder}, {path}: no validation split" in splits.notes[-1]
    again = load(data_dir=str(folder), train_file=path, validation_fraction=0.25)
    assert labels(again.validation) == labels(splits.validation)


def test_splits_of_a_folder_stay_as_they_are(tmp_path: Path) -> None:
    for split, first in (("train", 0), ("validation", 20), ("test", 40)):
        class_folders(tmp_path / "data" / split, per_class=2, first_seed=first)
    alone = load(data_dir=str(tmp_path / "data"))
    recording(tmp_path / "n.wav", 100)
    both = load(data_dir=str(tmp_path / "data"), train_file=manifest(tmp_path / "more.csv", [("n.wav", "a")]))
    assert labels(both.validation) == labels(alone.validation)
    assert labels(both.test) == labels(alone.test)
    assert labels(both.train) == {**labels(alone.train), "n.wav": "a"}


def test_several_of_each_flag(tmp_path: Path) -> None:
    folders = [str(class_folders(tmp_path / name, first_seed=first)) for name, first in (("one", 0), ("two", 20))]
    files = []
    for i in range(4):
        recording(tmp_path / f"m{i}.wav", 100 + i)
        files.append(manifest(tmp_path / f"{i}.csv", [(f"m{i}.wav", "a")]))
    splits = load(data_dir=folders, train_file=files[:2], eval_file=files[2], test_file=files[3])
    assert [len(table or []) for table in (splits.train, splits.validation, splits.test)] == [18, 1, 1]
    splits = load(data_dir=folders, eval_file=files[:2], test_file=files[2:])
    assert [len(table or []) for table in (splits.train, splits.validation, splits.test)] == [16, 2, 2]


def test_a_data_set_and_a_manifest(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "set")
    recording(tmp_path / "n.wav", 100)
    path = manifest(tmp_path / "more.csv", [("n.wav", "a"), (str(sorted((folder / "b").iterdir())[0]), "a")])
    splits = load(
        dataset_name=str(folder), train_file=path, eval_file=path
    )  # a folder, a snapshot or a name on the hub
    assert splits.train.label_counts() == {"a": 4, "b": 3}
    assert len(splits.validation) == 2
    with pytest.raises(UsageError, match=r"--dataset_name .* name two sources"):
        load(dataset_name="org/name", data_dir=str(folder), train_file=path)


def test_the_later_label_counts(tmp_path: Path) -> None:
    """For the same file, for a copy of it under another name, and for one in another container."""
    folder = class_folders(tmp_path / "old", per_class=4)
    same, renamed, lossless, untouched = sorted((folder / "a").iterdir())
    copy = tmp_path / "copies" / "renamed.wav"
    copy.parent.mkdir()
    copy.write_bytes(renamed.read_bytes())
    samples, rate_hz = soundfile.read(lossless, dtype="int16")
    soundfile.write(tmp_path / "copies" / "lossless.flac", samples, rate_hz)
    rows = [(str(same), "b"), ("copies/renamed.wav", "c"), ("copies/lossless.flac", "a")]
    path = manifest(tmp_path / "labels.csv", rows)
    splits = load(data_dir=str(folder), train_file=path, validation_fraction=0.01)
    everything = {**labels(splits.train), **labels(splits.validation)}
    assert len(splits.train) + len(splits.validation) == 8
    assert everything[same.name] == "b"
    assert everything["renamed.wav"] == "c"
    assert renamed.name not in everything
    assert lossless.name not in everything
    assert everything[untouched.name] == "a"
    said = splits.notes[1]
    assert said.startswith(
        "3 recordings are in more than one source and are used once; where labels differ, the later one is used ("
    )
    assert "(2: " in said
    assert "'a' -> 'b'" in said
    assert "'a' -> 'c'" in said
    # folders come before manifests, manifests as they are given
    later = manifest(tmp_path / "later.csv", [(str(same), "a")])
    for files, expected in (([path, later], "a"), ([later, path], "b")):
        splits = load(data_dir=str(folder), train_file=files, validation_fraction=0.01)
        assert {**labels(splits.train), **labels(splits.validation)}[same.name] == expected


def test_no_copy_of_a_held_out_clip_is_trained_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class_folders(tmp_path / "data" / "train", per_class=2)
    class_folders(tmp_path / "data" / "validation", per_class=2, first_seed=20)
    held_out, other = sorted((tmp_path / "data" / "validation" / "a").iterdir())
    (tmp_path / "renamed.wav").write_bytes(held_out.read_bytes())
    path = manifest(tmp_path / "labels.csv", [("renamed.wav", "b"), (str(other), "a")])
    with caplog.at_level(logging.WARNING):
        splits = load(data_dir=str(tmp_path / "data"), train_file=path)
    assert labels(splits.validation) == labels(load(data_dir=str(tmp_path / "data")).validation)
    assert len(splits.train) == 4
    assert any(note.startswith("2 training clips are not used for training, because another") for note in splits.notes)
    assert "1 recording has different labels in a held-out split and a later source" in caplog.text
    assert f"'a' in {tmp_path / 'data'}, 'b' in {path}" in caplog.text
    # a manifest that lists clips of a folder as validation clips takes them out of training
    first = sorted((tmp_path / "data" / "train" / "a").iterdir())[0]
    held = manifest(tmp_path / "held.csv", [(str(first), "a")])
    splits = load(data_dir=str(tmp_path / "data" / "train"), eval_file=held)
    assert first.name not in labels(splits.train)
    assert labels(splits.validation) == {first.name: "a"}


def test_one_source_and_a_manifest_a_split_are_left_as_they_are(tmp_path: Path) -> None:
    """Copies inside a data set are its own matter: published counts stay what they are."""
    recording(tmp_path / "x.wav", 1)
    (tmp_path / "copy.wav").write_bytes((tmp_path / "x.wav").read_bytes())
    path = manifest(tmp_path / "a.csv", [("x.wav", "a"), ("copy.wav", "b"), ("x.wav", "b")])
    other = manifest(tmp_path / "b.csv", [("x.wav", "a")])
    splits = load(train_file=path, eval_file=other)
    assert (len(splits.train), len(splits.validation)) == (3, 1)
    assert splits.notes == []
    more = recording(tmp_path / "y.wav", 2)
    splits = load(train_file=[path, manifest(tmp_path / "c.csv", [(str(more), "a")])], eval_file=other)
    assert labels(splits.train) == {"y.wav": "a"}  # with a second manifest the sources are compared


def test_groups_and_folds_of_the_earlier_source_are_kept(tmp_path: Path) -> None:
    for i in range(8):
        recording(tmp_path / f"{i}.wav", i)
    rows = [(f"{i}.wav", "ab"[i % 2], f"s{i // 2}", str(i // 4)) for i in range(8)]
    first = manifest(tmp_path / "first.csv", rows, "path,label,speaker,fold")  # type: ignore[arg-type]
    second = manifest(tmp_path / "second.csv", [("0.wav", "b", "", "")], "path,label,speaker,fold")  # type: ignore[list-item]
    splits = load(train_file=[first, second], group_column="speaker", validation_fraction=0.3)
    clips = [*splits.train, *splits.validation]
    assert [(clip.label, clip.group) for clip in clips if Path(clip.path or "").name == "0.wav"] == [("b", "s0")]
    assert not {clip.group for clip in splits.train} & {clip.group for clip in splits.validation}
    folds = load_folds(DataArguments(train_file=[first, second], fold_column="fold"), seed=0)
    assert len(folds.table) == 8
    third = manifest(tmp_path / "third.csv", [("1.wav", "a")])
    with pytest.raises(DataError, match=r"third\.csv: no column 'speaker'.*the same column names in all sources"):
        load(train_file=[first, third], group_column="speaker")


def test_cuts_of_a_recording_are_clips_of_their_own(tmp_path: Path) -> None:
    recording(tmp_path / "tape.wav", 1, seconds=2.0)
    rows = [("tape.wav", "ab"[i % 2], str(0.2 * i), "0.2") for i in range(6)]
    first = manifest(tmp_path / "a.csv", rows, "path,label,offset,duration")  # type: ignore[arg-type]
    later = [("tape.wav", "c", "0.0", "0.2"), ("tape.wav", "c", "1.5", "0.2")]
    second = manifest(tmp_path / "b.csv", later, "path,label,offset,duration")  # type: ignore[arg-type]
    held = manifest(tmp_path / "v.csv", [("tape.wav", "a", "1.8", "0.1")], "path,label,offset,duration")  # type: ignore[list-item]
    splits = load(train_file=[first, second], eval_file=held)
    assert splits.train.label_counts() == {"b": 3, "a": 2, "c": 2}


def test_a_rounded_duration_still_names_the_whole_recording(tmp_path: Path) -> None:
    """NeMo manifests give every recording a duration, rounded to a few digits."""
    folder = tmp_path / "rec"
    for i in range(8):
        recording(folder / "ab"[i % 2] / f"{i}.wav", i, seconds=0.5037)
    (tmp_path / "renamed.wav").write_bytes((folder / "b" / "3.wav").read_bytes())
    names = [
        ("rec/a/0.wav", "a", "0.0", "0.5"),
        ("rec/b/1.wav", "b", "0.0", "0.51"),
        ("renamed.wav", "b", "0.0", "0.5"),
    ]
    held = manifest(tmp_path / "eval.csv", names, "path,label,offset,duration")  # type: ignore[arg-type]
    splits = load(data_dir=str(folder), eval_file=held)
    assert set(labels(splits.train)) == {"2.wav", "4.wav", "5.wav", "6.wav", "7.wav"}
    assert [clip.duration_s for clip in splits.validation] == [0.5, 0.51, 0.5]
    assert any(note.startswith("3 training clips are not used for training") for note in splits.notes)


def test_cuts_of_a_recording_stay_together_however_its_path_is_spelled(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    columns = "path,label,offset,duration"
    near, far = [], []
    for i in range(8):
        recording(tmp_path / f"{i}.wav", i, seconds=0.6)
        near.append((f"{i}.wav", "ab"[i % 2], "0.0", "0.2"))
        far.append((f"../{i}.wav", "ab"[i % 2], "0.3", "0.2"))
    files = [manifest(tmp_path / "a.csv", near, columns), manifest(tmp_path / "tables" / "b.csv", far, columns)]  # type: ignore[arg-type]
    splits = load(train_file=files, validation_fraction=0.3)
    train, validation = (
        {Path(clip.path or "").resolve() for clip in table} for table in (splits.train, splits.validation)
    )
    assert validation
    assert not train & validation


def test_silence_and_unreadable_files_are_copies_of_nothing(tmp_path: Path) -> None:
    for name in ("one", "two"):
        class_folders(tmp_path / name, per_class=2, first_seed=0 if name == "one" else 20)
        soundfile.write(tmp_path / name / "a" / "silent.wav", np.zeros(3200), RATE_HZ)
        (tmp_path / name / "b" / "broken.wav").write_bytes(b"none")
    splits = load(data_dir=[str(tmp_path / "one"), str(tmp_path / "two")], validation_fraction=0.01)
    assert len(splits.train) + len(splits.validation) == 12


def test_paths_that_are_spelled_the_same_are_told_apart(tmp_path: Path) -> None:
    """Tables of predictions go by the name of a clip."""
    files = []
    for i, name in enumerate(("one", "two")):
        recording(tmp_path / name / "1.wav", i)
        files.append(manifest(tmp_path / name / "list.csv", [("1.wav", "ab"[i])]))
    splits = load(train_file=files, eval_file=files[0])
    assert [clip.source for clip in splits.train] == [str(tmp_path / "two" / "1.wav")]
    assert [clip.source for clip in splits.validation] == [str(tmp_path / "one" / "1.wav")]


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("7", "labels are numbers (7), but {folder} has names (a, b). Give the classes the same names in both"),
        ('"b,a"', "the label 'b,a' names several classes of {folder}. Add --task multi_label"),
    ],
)
def test_labels_of_different_kinds(label: str, said: str, tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "old")
    recording(tmp_path / "n.wav", 100)
    path = manifest(tmp_path / "labels.csv", [("n.wav", label)])
    with pytest.raises(DataError) as caught:
        load(data_dir=str(folder), train_file=path)
    assert str(caught.value).startswith(path)
    assert said.format(folder=folder) in str(caught.value)


def test_several_labels_and_numbers(tmp_path: Path) -> None:
    recording(tmp_path / "old" / "a" / "1.wav", 1)
    recording(tmp_path / "old" / "b" / "2.wav", 2)
    recording(tmp_path / "n.wav", 100)
    path = manifest(tmp_path / "labels.csv", [("n.wav", '"b,a"'), ("old/a/1.wav", '"b,a"')])
    held = manifest(tmp_path / "held.csv", [("n.wav", '"b,a"')])
    splits = load(data_dir=str(tmp_path / "old"), train_file=path, eval_file=held, task="multi_label")
    assert labels(splits.train) == {"1.wav": ("b", "a"), "2.wav": ("b",)}
    with pytest.raises(DataError, match="'a' is not a number"):
        load(data_dir=str(tmp_path / "old"), train_file=path, task="regression")


def test_samples_that_an_earlier_run_has_decoded_are_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = class_folders(tmp_path / "old", per_class=2)
    copy = tmp_path / "copy.wav"
    copy.write_bytes(sorted((folder / "a").iterdir())[0].read_bytes())
    path = manifest(tmp_path / "more.csv", [("copy.wav", "b")])
    options = DataArguments(data_dir=str(folder), store_dir=str(tmp_path / "store"), validation_fraction=0.01)
    keep_usable({"train": load_folder(folder).train, "more": load_manifest(path)}, RATE_HZ, options)

    def decode(_: object) -> int:
        raise AssertionError("decoded again")

    monkeypatch.setattr("earmark.store.known_contents.clip_content", decode)
    splits = load_splits(replace(options, train_file=path), seed=0)
    assert len(splits.train) + len(splits.validation) == 4
    with pytest.raises(AssertionError, match="decoded again"):
        load_splits(replace(options, train_file=path, store="off"), seed=0)
