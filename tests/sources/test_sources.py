"""From settings to splits: which reader a source goes to, and what is said about what was not asked for."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from earmark.clips.clip import Clip, ClipTable, Splits
from earmark.errors import DataError, MissingExtraError, UsageError
from earmark.settings.data_flags import DataArguments
from earmark.sources.load_clips import load_folds, load_own_splits, load_splits
from earmark.sources.source import HubAccess
from earmark.store.scan import check_tables
from tests.sources.empty_files import touch
from tests.tiny import write_tones


def manifest(path: Path, count: int, groups: int = 10) -> str:
    rows = "".join(f"{i}.wav,{'ab'[i % 2]},s{i % groups}\n" for i in range(count))
    path.write_text("path,label,speaker\n" + rows)
    return str(path)


def sources(table: ClipTable | None) -> list[str]:
    assert table is not None
    return [clip.source for clip in table]


def test_a_folder_with_splits_is_taken_as_it_is(tmp_path):
    splits = load_splits(DataArguments(data_dir=str(write_tones(tmp_path, per_class=3))), seed=0)
    assert splits.train.label_counts() == {"high": 3, "low": 3}
    assert splits.validation.label_counts() == {"high": 2, "low": 2}
    assert splits.notes == []


def test_a_dataset_name_that_is_a_folder_is_that_folder(tmp_path, monkeypatch):
    write_tones(tmp_path / "tones", per_class=3)
    monkeypatch.chdir(tmp_path)
    assert len(load_splits(DataArguments(dataset_name="tones"), seed=0).train) == 6


def test_manifests(tmp_path):
    options = DataArguments(
        train_file=manifest(tmp_path / "a.csv", 20),
        eval_file=manifest(tmp_path / "b.csv", 10),
        test_file=manifest(tmp_path / "c.csv", 6),
    )
    splits = load_splits(options, seed=0)
    assert [len(t) for t in (splits.train, splits.validation, splits.test)] == [20, 10, 6]
    assert splits.notes == []


def test_evaluation_data_alone(tmp_path):
    splits = load_splits(DataArguments(eval_file=manifest(tmp_path / "b.csv", 10)), seed=0)
    assert splits.train is None
    assert len(splits.validation) == 10


def test_a_missing_validation_split_is_made_and_said(tmp_path):
    path = manifest(tmp_path / "a.csv", 100)
    splits = load_splits(DataArguments(train_file=path, validation_fraction=0.2), seed=7)
    assert (len(splits.train), len(splits.validation)) == (80, 20)
    assert splits.validation.label_counts() == {"a": 10, "b": 10}
    assert splits.notes == [
        f"{path}: no validation split, so 20 of 100 training clips were set aside for validation "
        "(stratified by label, seed 7)"
    ]
    again = load_splits(DataArguments(train_file=path, validation_fraction=0.2), seed=7)
    assert sources(again.validation) == sources(splits.validation)


def test_clips_of_one_recording_are_set_aside_together_and_the_note_says_so(tmp_path):
    path = tmp_path / "events.csv"
    rows = [f"{i // 8}.wav,{i % 8},{i % 8 + 1},{'ab'[i % 2]}\n" for i in range(32)]
    path.write_text("path,start,end,label\n" + "".join(rows))
    for i in range(4):
        (tmp_path / f"{i}.wav").write_bytes(b"")
    splits = load_splits(DataArguments(train_file=str(path)), seed=7)
    assert len(splits.validation) == 8
    assert len({clip.path for clip in splits.validation}) == 1
    assert splits.notes[-1] == (
        f"{path}: no validation split, so 8 of 32 training clips were set aside for validation (by recording, as near "
        "to --validation_fraction 0.1 of each label as whole recordings allow, seed 7)"
    )
    one = load_splits(DataArguments(train_file=str(path), folds=4, fold="1"), seed=7).notes[-1]
    assert one.endswith("of the other 24 clips were set aside for validation (seed 7, by recording)")


def test_a_split_by_group(tmp_path):
    options = DataArguments(train_file=manifest(tmp_path / "a.csv", 100), group_column="speaker")
    splits = load_splits(options, seed=0)
    assert not {c.group for c in splits.train} & {c.group for c in splits.validation}
    assert "whole groups of speaker" in splits.notes[0]


def test_groups_of_a_source_without_columns(tmp_path):
    folder = touch(tmp_path, "a/1.wav", "a/2.wav", "b/1.wav", "b/2.wav")
    with pytest.raises(DataError, match=r"no clip has a group.*metadata\.csv"):
        load_splits(DataArguments(data_dir=str(folder), group_column="speaker"), seed=0)


def test_a_test_split_does_not_become_validation(tmp_path):
    folder = touch(tmp_path, *[f"train/{c}/{i}.wav" for c in "ab" for i in range(20)], "test/a/1.wav")
    splits = load_splits(DataArguments(data_dir=str(folder)), seed=0)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (36, 4, 1)


def test_fewer_clips(tmp_path):
    path = manifest(tmp_path / "a.csv", 100)
    options = DataArguments(train_file=path, eval_file=path, max_train_samples=10, max_eval_samples=200)
    splits = load_splits(options, seed=3)
    assert len(splits.train) == 10
    assert len(splits.validation) == 100
    assert splits.notes == [f"{path}: 10 of 100 train clips were drawn (--max_train_samples, seed 3)"]
    assert sources(splits.train) == sorted(sources(splits.train), key=lambda s: int(s[:-4]))
    other = load_splits(options, seed=4)
    assert sources(other.train) != sources(splits.train)


def test_a_small_draw_has_every_class(tmp_path):
    rows = "".join(f"{i}.wav,{'rare' if i == 57 else 'often'}\n" for i in range(1000))
    (tmp_path / "a.csv").write_text("path,label\n" + rows)
    path = str(tmp_path / "a.csv")
    for seed in range(3):
        splits = load_splits(DataArguments(train_file=path, eval_file=path, max_train_samples=5), seed=seed)
        assert splits.train.label_counts() == {"often": 4, "rare": 1}


def test_a_draw_of_fewer_clips_than_classes_has_the_classes_of_the_whole_split(tmp_path):
    (tmp_path / "a.csv").write_text("path,label\n" + "".join(f"{i}.wav,{'abc'[i % 3]}\n" for i in range(9)))
    path = str(tmp_path / "a.csv")
    for most in (1, 2):
        splits = load_splits(DataArguments(train_file=path, eval_file=path, max_train_samples=most), seed=0)
        assert len(splits.train) == most
        assert splits.train.labels_to_learn() == ["a", "b", "c"]
        check_tables(splits)
    assert splits.notes[0].endswith("; none of 'b'")


def test_a_manifest_a_split_in_a_folder(tmp_path):
    manifest(tmp_path / "train.csv", 20)
    manifest(tmp_path / "Dev.csv", 4)
    touch(tmp_path, *[f"{i}.wav" for i in range(20)])
    splits = load_splits(DataArguments(data_dir=str(tmp_path)), seed=0)
    assert (len(splits.train), len(splits.validation), splits.test) == (20, 4, None)
    (tmp_path / "val.jsonl").write_text('{"path": "1.wav", "label": "a"}\n')
    with pytest.raises(DataError, match=r"Dev\.csv and val\.jsonl are both the validation split"):
        load_splits(DataArguments(data_dir=str(tmp_path)), seed=0)


def arrow_table() -> Any:
    datasets, pyarrow = pytest.importorskip("datasets"), pytest.importorskip("pyarrow")
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    cells = [{"bytes": b"x", "path": None}] * 4
    return datasets.Dataset(pyarrow.table({"audio": pyarrow.array(cells, type=kind), "label": list("abab")}))


def test_save_to_disk_and_snapshots_are_told_apart(tmp_path, monkeypatch):
    table = arrow_table()
    table.save_to_disk(tmp_path / "saved")
    (tmp_path / "snapshot/ks").mkdir(parents=True)
    table.to_parquet(tmp_path / "snapshot/ks/train-00000-of-00001.parquet")
    table.to_parquet(tmp_path / "snapshot/ks/validation-00000-of-00001.parquet")
    cache = str(tmp_path / "cache")
    saved = load_splits(DataArguments(data_dir=str(tmp_path / "saved"), validation_fraction=0.5), seed=0)
    assert (len(saved.train), len(saved.validation)) == (2, 2)
    for options in (
        DataArguments(data_dir=str(tmp_path / "snapshot"), dataset_config_name="ks"),
        # SUPERB KS as Parquet, not as the archive
        DataArguments(dataset_name="superb", data_dir=str(tmp_path / "snapshot"), dataset_config_name="ks"),
    ):
        snapshot = load_splits(options, seed=0, hub=HubAccess(cache_dir=cache))
        assert (len(snapshot.train), len(snapshot.validation)) == (4, 4)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match="pip install"):
        load_splits(DataArguments(data_dir=str(tmp_path / "saved")), seed=0)


def test_superb_ks_goes_to_the_archive_reader(tmp_path, monkeypatch):
    asked: list[tuple[str, float | None, int]] = []

    def load_superb_ks(data_dir: str, *, silence_percentage: float | None, seed: int) -> Splits:
        asked.append((data_dir, silence_percentage, seed))
        table = ClipTable([Clip("1", "a"), Clip("2", "b")], data_dir)
        return Splits(train=table, validation=table, test=table)

    reader = ModuleType("earmark.sources.speech_commands")
    reader.load_superb_ks = load_superb_ks  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "earmark.sources.speech_commands", reader)
    for name in ("superb", "s3prl/superb"):
        options = DataArguments(
            dataset_name=name, dataset_config_name="ks", data_dir=str(tmp_path), silence_percentage=5.0
        )
        assert len(load_splits(options, seed=9).test) == 2
    assert asked == [(str(tmp_path), 5.0, 9)] * 2


def test_superb_ks_without_the_archive():
    with pytest.raises(DataError, match=r"speech_commands_v0\.01\.tar\.gz.*--data_dir FOLDER"):
        load_splits(DataArguments(dataset_name="superb", dataset_config_name="ks"), seed=0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "no recordings"),
        ({"dataset_name": "someone/thing", "data_dir": "b"}, "name two sources of recordings"),
    ],
)
def test_no_source_or_two(options, said):
    with pytest.raises(UsageError, match=said):
        load_splits(DataArguments(**options), seed=0)


def test_folders_that_are_nothing(tmp_path):
    touch(tmp_path / "empty", "README.txt", "docs/a.txt")
    touch(tmp_path / "loose", "1.wav", "2.wav")
    for name, said in (
        ("empty", "no class folders with recordings"),
        ("loose", "2 recordings but no class folders"),
        ("missing", "no such folder"),
    ):
        with pytest.raises(DataError) as caught:
            load_splits(DataArguments(data_dir=str(tmp_path / name)), seed=0)
        assert said in str(caught.value)


def test_the_order_of_the_manifest_does_not_change_the_split(tmp_path):
    lines = [f"{i}.wav,{'ab'[i % 2]}\n" for i in range(60)]
    chosen = []
    for _ in range(2):
        (tmp_path / "a.csv").write_text("path,label\n" + "".join(lines))
        chosen.append(set(sources(load_splits(DataArguments(train_file=str(tmp_path / "a.csv")), seed=1).validation)))
        random.Random(0).shuffle(lines)
    assert chosen[0] == chosen[1]


@pytest.mark.parametrize("more", [{}, {"max_train_samples": 8, "validation_fraction": 0.3}, {"shots": 3}])
def test_clips_that_are_loaded_take_the_place_of_a_source(more: dict[str, Any], tmp_path: Path) -> None:
    options = DataArguments(train_file=manifest(tmp_path / "all.csv", 40), group_column="speaker", **more)
    loaded = load_own_splits(options, seed=0)
    from_file = load_splits(options, seed=3)
    (tmp_path / "all.csv").unlink()  # it is not read again
    splits = load_splits(options, seed=3, loaded=loaded)
    assert sources(splits.train) == sources(from_file.train)
    assert sources(splits.validation) == sources(from_file.validation)
    assert splits.notes == from_file.notes
    assert (len(sources(loaded.train)), loaded.validation, loaded.notes) == (40, None, [])  # the caller's stay


def test_folds_of_clips_that_are_loaded(tmp_path: Path) -> None:
    options = DataArguments(train_file=manifest(tmp_path / "all.csv", 40), folds=4)
    loaded = load_own_splits(options, seed=0)
    from_file = load_folds(options, seed=1)
    (tmp_path / "all.csv").unlink()
    folds = load_folds(options, seed=1, loaded=loaded)
    assert folds.fold_names == from_file.fold_names
    assert sources(load_splits(DataArguments(folds=4, fold="1"), seed=1, loaded=loaded).test) == sources(
        from_file.splits("1", 1).test
    )
