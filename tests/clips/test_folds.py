"""Folds: official and made ones, and those that cannot be used."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from earmark.clips.clip import Clip, ClipTable
from earmark.clips.splits import make_folds
from earmark.errors import DataError, UsageError
from earmark.settings.data_flags import DataArguments
from earmark.settings.run_flags import RunArguments
from earmark.sources.load_clips import load_folds, load_splits

Row = tuple[str, str, str, str]  # path, label, fold, speaker


def rows(count: int = 60) -> list[Row]:
    """Two classes, five folds, fifteen speakers, each in one fold."""
    return [(f"{i}.wav", "ab"[i % 2], str(i % 5 + 1), f"s{i % 15}") for i in range(count)]


def manifest(folder: Path, table: list[Row]) -> str:
    lines = ["path,label,fold,speaker", *(",".join(row) for row in table)]
    (folder / "all.csv").write_text("\n".join(lines) + "\n")
    return str(folder / "all.csv")


def official(folder: Path, table: list[Row], **options: str) -> DataArguments:
    return DataArguments(train_file=manifest(folder, table), fold_column="fold", **options)  # type: ignore[arg-type]


def test_each_official_fold_is_the_test_split_once(tmp_path: Path) -> None:
    tested: Counter[str] = Counter()
    for fold in "12345":
        splits = load_splits(official(tmp_path, rows(), fold=fold, group_column="speaker"), seed=0)
        parts = [splits.train, splits.validation, splits.test]
        assert sum(len(part or []) for part in parts) == 60
        assert {clip.fold for clip in splits.test or []} == {fold}
        groups = [{clip.group for clip in part or []} for part in parts]
        assert not groups[0] & groups[1]
        assert not groups[2] & (groups[0] | groups[1])
        assert len(splits.validation or []) >= 2
        tested.update(clip.source for clip in splits.test or [])
        assert f"fold {fold} of 5 is the test split (12 clips)" in splits.notes[0]
    assert set(tested.values()) == {1}
    assert len(tested) == 60


def test_a_column_of_another_name_and_names_that_are_words(tmp_path: Path) -> None:
    path = Path(manifest(tmp_path, [(p, label, f"site{f}", s) for p, label, f, s in rows()]))
    path.write_text(path.read_text().replace(",fold,", ",Place,"))
    folds = load_folds(DataArguments(train_file=str(path), fold_column="place"), seed=0)
    assert folds.names == [f"site{i}" for i in range(1, 6)]


def test_folds_are_in_order_of_their_numbers(tmp_path: Path) -> None:
    table = [(p, label, str(i % 12), s) for i, (p, label, _, s) in enumerate(rows(120), 1)]
    table = [(p, "ab"[i // 12 % 2], f, s) for i, (p, _, f, s) in enumerate(table)]
    assert load_folds(official(tmp_path, table), seed=0).names == [str(i) for i in range(12)]


def test_made_folds_have_their_share_of_every_class_and_group() -> None:
    rng = random.Random(0)
    clips = [
        Clip(source=str(i), path=str(i), label=rng.choice("aaabc"), group=f"s{int(rng.paretovariate(1)) % 50}")
        for i in range(2000)
    ]
    table = ClipTable(clips, "data")
    folds = make_folds(table, 5, seed=0)
    of_group: dict[str | None, set[str]] = {}
    for clip, fold in zip(table, folds, strict=True):
        of_group.setdefault(clip.group, set()).add(fold)
    assert all(len(names) == 1 for names in of_group.values())
    by_label = Counter((clip.label, fold) for clip, fold in zip(table, folds, strict=True))
    # two groups are larger than a fold's share: they are alone in theirs, and the others are shared out evenly
    largest = [group for group, _ in Counter(clip.group for clip in table).most_common(2)]
    filled = {fold for group in largest for fold in of_group[group]}
    assert len(filled) == 2
    for label in "abc":
        rest = [by_label[label, fold] for fold in set(folds) - filled]
        assert max(rest) - min(rest) <= 1, (label, rest)


def test_made_folds_without_groups_are_even_and_the_seed_decides() -> None:
    table = ClipTable([Clip(source=str(i), path=str(i), label="aab"[i % 3]) for i in range(90)], "data")
    folds = make_folds(table, 5, seed=1)
    counts = Counter((clip.label, fold) for clip, fold in zip(table, folds, strict=True))
    assert counts == {("a", str(f)): 12 for f in range(1, 6)} | {("b", str(f)): 6 for f in range(1, 6)}
    assert make_folds(table, 5, seed=2) != folds
    order = random.Random(3).sample(range(90), 90)
    shuffled = make_folds(table.keep(order), 5, seed=1)
    assert [folds[i] for i in order] == shuffled


def test_every_clip_is_tested_once_in_made_folds(tmp_path: Path) -> None:
    path = manifest(tmp_path, rows())
    tested: Counter[str] = Counter()
    for fold in "123":
        options = DataArguments(train_file=path, folds=3, fold=fold, group_column="speaker")
        splits = load_splits(options, seed=4)
        tested.update(clip.source for clip in splits.test or [])
    assert len(tested) == tested.total() == 60
    options = DataArguments(train_file=path, folds=3, fold="1", validation_fraction=0)
    splits = load_splits(options, seed=4)
    assert splits.validation is None
    assert len(splits.train or []) + len(splits.test or []) == 60


def change(**cells: str) -> list[Row]:
    """The rows, some cells of the fourth changed."""
    names = ("path", "label", "fold", "speaker")
    table = rows()
    table[3] = tuple(cells.get(name, cell) for name, cell in zip(names, table[3], strict=True))  # type: ignore[assignment]
    return table


@pytest.mark.parametrize(
    ("table", "options", "said"),
    [
        (change(fold=""), {}, "1 of 60 clips has no value in the column 'fold', for example 3.wav"),
        (change(fold=" "), {}, "no value in the column 'fold'"),
        (change(speaker=""), {"group_column": "speaker"}, "1 of 60 clips has no value in the column 'speaker'"),
        (change(label="c"), {}, "fold 4 has all clips of 'c'"),
        (change(fold="2"), {"group_column": "speaker"}, "1 group of speaker is in two folds, for example s3"),
        ([(p, label, "1", s) for p, label, _, s in rows()], {}, "all clips are in the fold '1'"),
        (rows(), {"group_column": "tape"}, "no column 'tape'"),
    ],
)
def test_official_folds_that_cannot_be_used(
    table: list[Row], options: dict[str, str], said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        load_folds(official(tmp_path, table, **options), seed=0)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folds_that_cannot_be_made_or_found(tmp_path: Path) -> None:
    path = manifest(tmp_path, rows())
    with pytest.raises(DataError, match="15 groups cannot be divided into 16 folds"):
        load_folds(DataArguments(train_file=path, folds=16, group_column="speaker"), seed=0)
    with pytest.raises(DataError, match="60 recordings cannot be divided into 61 folds"):
        load_folds(DataArguments(train_file=path, folds=61), seed=0)
    with pytest.raises(DataError, match=r"no column 'split'.*--fold_column"):
        load_folds(DataArguments(train_file=path, fold_column="split"), seed=0)
    with pytest.raises(UsageError, match="no fold is held out"):
        load_splits(DataArguments(train_file=path, folds=3), seed=0)
    with pytest.raises(UsageError, match="--fold 9: no such fold"):
        load_splits(DataArguments(train_file=path, folds=3, fold="9"), seed=0)
    with pytest.raises(DataError, match=r"fold . has all clips of 'rare'"):
        load_folds(DataArguments(train_file=manifest(tmp_path, change(label="rare")), folds=5), seed=0)


def test_sources_with_splits_or_without_columns(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        for label in "ab":
            (tmp_path / "data" / split / label).mkdir(parents=True)
            for i in range(4):
                (tmp_path / "data" / split / label / f"{i}.wav").write_bytes(b"x")
    with pytest.raises(DataError, match="has validation clips of its own"):
        load_folds(DataArguments(data_dir=str(tmp_path / "data"), folds=2), seed=0)
    with pytest.raises(DataError, match=r"no clip has a fold.*metadata\.csv"):
        load_folds(DataArguments(data_dir=str(tmp_path / "data" / "train"), fold_column="fold"), seed=0)
    assert load_folds(DataArguments(data_dir=str(tmp_path / "data" / "train"), folds=2), seed=0).names == ["1", "2"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"folds": 1}, "--folds 1: expected a whole number of at least 2"),
        ({"folds": 5, "fold_column": "fold"}, "--fold_column fold and --folds 5"),
        ({"folds": 5, "eval_file": "e.csv"}, "--folds 5 with --eval_file"),
        ({"fold_column": "fold", "test_file": "t.csv"}, "--fold_column fold with --test_file"),
    ],
)
def test_flags_that_contradict(options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        DataArguments(train_file="a.csv", **options)  # type: ignore[arg-type]
    assert said in str(caught.value)


@pytest.mark.parametrize("seeds", ["", "1,,2", "a", "-1", "1.5", "1,1", "4294967296", "0 1"])
def test_seeds_that_are_none(seeds: str) -> None:
    with pytest.raises(UsageError, match="--seeds"):
        RunArguments(seeds=seeds)


def test_seeds() -> None:
    assert RunArguments(seeds="0, 1,12").seed_list() == [0, 1, 12]
    assert RunArguments().seed_list() == []


def test_a_group_column_with_gaps_is_named_where_a_split_is_made(tmp_path: Path) -> None:
    path = manifest(tmp_path, change(speaker=""))
    with pytest.raises(DataError, match=r"1 of 60 clips has no value in the column 'speaker', for example 3"):
        load_splits(DataArguments(train_file=path, group_column="speaker"), seed=0)


def test_notes_of_loading_are_kept(tmp_path: Path) -> None:
    first, second = rows()[:40], rows()[40:]
    for name, table in (("one", first), ("two", second)):
        (tmp_path / name).mkdir()
        manifest(tmp_path / name, table)
    files = [str(path) for path in sorted(tmp_path.glob("*/*.csv"))]
    folds = load_folds(DataArguments(train_file=files, fold_column="fold"), seed=0)
    assert any(note.startswith("sources combined: ") for note in folds.notes)
    said = folds.splits(folds.names[0], 0).notes
    assert [note.split(":")[0] for note in said[: len(folds.notes)]] == [note.split(":")[0] for note in folds.notes]
    assert f"fold {folds.names[0]} of" in said[-1]
