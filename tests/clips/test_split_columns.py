"""Splits that a column of a table names: no clip is trained on that the column holds out."""

from __future__ import annotations

from pathlib import Path

import pytest

from earmark.clips.clip import Splits
from earmark.errors import DataError
from earmark.settings.data_flags import DataArguments
from earmark.sources.load_clips import load_splits

PERFECT = ("train", "train", "test", "test", "dev", "dev")


def write(path: Path, cells: tuple[str, ...], column: str = "split") -> str:
    for index in range(len(cells)):
        (path.parent / f"{index}.wav").touch()
    rows = [f"{index}.wav,{'ab'[index % 2]},{cell}" for index, cell in enumerate(cells)]
    path.write_text("\n".join([f"file_name,label,{column}", *rows]) + "\n")
    return str(path)


def counts(splits: Splits) -> tuple[int, int, int]:
    train, validation, test = (len(table or []) for table in (splits.train, splits.validation, splits.test))
    return train, validation, test


def load(path: str, how: str, **options: object) -> Splits:
    if how == "train_file":
        return load_splits(DataArguments(train_file=path, **options), seed=0)
    return load_splits(DataArguments(data_dir=str(Path(path).parent), **options), seed=0)


WAYS = [
    ("metadata.csv", "data_dir"),
    ("labels.csv", "data_dir"),
    ("train.csv", "data_dir"),
    ("all.csv", "train_file"),
]


@pytest.mark.parametrize("column", ["split", "Split", "SUBSET", "set", "Data_Split"])
@pytest.mark.parametrize(("name", "how"), WAYS)
def test_every_way_to_give_a_table_keeps_its_splits(name: str, how: str, column: str, tmp_path: Path) -> None:
    splits = load(write(tmp_path / name, PERFECT, column), how)
    assert counts(splits) == (2, 2, 2)
    assert any(f"the column {column!r} decides the split of each clip" in note for note in splits.notes)


@pytest.mark.parametrize(
    ("cells", "named"),
    [
        (("train", "train", "test", "unused"), r"'unused' \(1 row\)"),
        (("train", "train", "", "test"), r"empty \(1 row\)"),
        (("train-a", "train-a", "test-b", "test-b"), r"'train-a' \(2 rows\), 'test-b' \(2 rows\)"),
    ],
)
@pytest.mark.parametrize(("name", "how"), WAYS)
def test_cells_that_are_no_split_are_named(
    name: str, how: str, cells: tuple[str, ...], named: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=rf"column 'split' names .*: {named}\. Write train, validation or test"):
        load(write(tmp_path / name, cells), how)


def test_a_value_that_a_flag_names_is_a_split(tmp_path: Path) -> None:
    path = write(tmp_path / "metadata.csv", (*["train"] * 8, "held back", "held back"))
    assert len(load(path, "data_dir", test_split_name="held back").test or []) == 2


def test_a_column_of_other_values_is_no_column_of_splits(tmp_path: Path) -> None:
    path = write(tmp_path / "metadata.csv", ("small", "large") * 4, "subset")
    splits = load(path, "data_dir", validation_fraction=0.5)
    assert splits.test is None
    assert len(splits.train or []) + len(splits.validation or []) == 8


@pytest.mark.parametrize("how", ["data_dir", "train_file"])
def test_rows_of_a_split_with_a_file_of_its_own_are_left_out(how: str, tmp_path: Path) -> None:
    path = write(tmp_path / "train.csv", PERFECT)
    own = write(tmp_path / "eval.csv", ("dev",) * 5)
    splits = load(path, how, **({"eval_file": own} if how == "train_file" else {}))
    assert counts(splits) == (2, 5, 2)
    assert any("2 rows are ignored because column 'split' puts them into validation" in note for note in splits.notes)


def test_a_training_file_without_training_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no row is for training, because column 'split' has test 4\. Give the file"):
        load(write(tmp_path / "all.csv", ("test",) * 4), "train_file")


def test_folds_and_files_for_evaluation_take_all_rows_with_a_note(tmp_path: Path) -> None:
    path = write(tmp_path / "all.csv", ("train", "train", "test", "test") * 2)
    for options in (DataArguments(eval_file=path), DataArguments(train_file=path, folds=2, fold="1")):
        splits = load_splits(options, seed=0)
        assert sum(counts(splits)) == 8
        assert any("column `split` (train 4, test 4) is not used" in note for note in splits.notes)
