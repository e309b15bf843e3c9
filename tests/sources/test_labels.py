"""Cells of a table as one class, several labels or a number; splits and targets of each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from earmark.clips.clip import Clip, ClipTable, Splits
from earmark.clips.columns import Columns
from earmark.clips.splits import make_folds, make_validation_split
from earmark.clips.targets import table_targets
from earmark.errors import DataError, UsageError
from earmark.label_lists import join_labels
from earmark.settings.data_flags import DataArguments
from earmark.sources.folders import load_folder
from earmark.sources.load_clips import load_splits
from earmark.sources.manifests import load_manifest
from earmark.sources.tables.cells import read_label
from earmark.store.scan import check_tables
from earmark.tasks import MULTI_LABEL, REGRESSION

SEVERAL, NUMBER = Columns(task=MULTI_LABEL), Columns(task=REGRESSION)


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("dog", ("dog",)),
        ("dog,rain", ("dog", "rain")),
        (" dog , rain ,", ("dog", "rain")),
        ("dog,dog", ("dog",)),
        ("", ()),
        ([], ()),
        (["dog", "rain"], ("dog", "rain")),
        ('["rain, heavy", "dog"]', ("rain, heavy", "dog")),
        ([1, 3], ("1", "3")),
        (7, ("7",)),
    ],
)
def test_a_cell_of_several_labels(cell: object, labels: tuple[str, ...]) -> None:
    assert read_label(cell, "row 1", SEVERAL) == labels


def test_numbers_stand_for_names_where_the_table_has_them() -> None:
    assert read_label([2, 0], "row 1", SEVERAL, ["a", "b", "c"]) == ("c", "a")
    with pytest.raises(DataError, match=r"row 1: the label 3 has no class name"):
        read_label([3], "row 1", SEVERAL, ["a", "b", "c"])


def test_another_separator(tmp_path: Path) -> None:
    assert read_label("a, b; c", "row 1", Columns(task=MULTI_LABEL, separator=";")) == ("a, b", "c")


@pytest.mark.parametrize("cell", [None, float("nan")])
def test_a_cell_that_says_nothing_is_no_empty_list(cell: object) -> None:
    with pytest.raises(DataError, match="row 1: has no labels; a clip without labels has an empty list"):
        read_label(cell, "row 1", SEVERAL)


@pytest.mark.parametrize(
    ("cell", "what"), [("[dog", "not a valid JSON or Python list"), ([["a"]], "Give each clip one class name")]
)
def test_what_is_no_list_of_labels_is_named(cell: object, what: str) -> None:
    with pytest.raises(DataError, match=what):
        read_label(cell, "row 1", SEVERAL)


@pytest.mark.parametrize(("cell", "number"), [("3.5", 3.5), (2, 2.0), ("-1e3", -1000.0)])
def test_a_cell_of_a_number(cell: object, number: float) -> None:
    assert read_label(cell, "row 1", NUMBER) == number


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        ("dog", "'dog' is not a number"),
        ("", "has no number"),
        (None, "has no number"),
        ("inf", "not a finite number"),
        (True, "not a finite number"),
        ([1.0], "is not a number"),
    ],
)
def test_what_is_no_number_is_named(cell: object, what: str) -> None:
    with pytest.raises(DataError, match=what):
        read_label(cell, "row 1", NUMBER)


def test_messages_of_single_labels_name_the_task_that_would_do() -> None:
    with pytest.raises(DataError, match="--task multi_label"):
        read_label(["a", "b"], "row 1", Columns())
    with pytest.raises(DataError, match="--task regression"):
        read_label(0.5, "row 1", Columns())


@pytest.mark.parametrize("labels", [["a", "b"], ["a, b", "c"], ["[a", "b"], []])
def test_labels_written_as_text_read_back(labels: list[str]) -> None:
    assert read_label(join_labels(labels), "row 1", SEVERAL) == tuple(labels)


def test_manifests_of_both_kinds(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('file,label\na.wav,"dog,rain"\nb.wav,\nc.wav,rain\n')
    table = load_manifest(tmp_path / "a.csv", SEVERAL)
    assert table.labels() == ["dog", "rain"]
    assert table.label_counts() == {"rain": 2, "dog": 1}
    assert [clip.label_text for clip in table] == ["dog,rain", "", "rain"]
    np.testing.assert_array_equal(table_targets(table, ["dog", "rain"], MULTI_LABEL), [[1, 1], [0, 0], [0, 1]])
    rows = [{"audio": "a.wav", "label": ["rain"]}, {"audio": "b.wav", "label": []}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert [clip.label for clip in load_manifest(tmp_path / "a.jsonl", SEVERAL)] == [("rain",), ()]
    (tmp_path / "b.csv").write_text("file,label\na.wav,1.5\nb.wav,2\n")
    numbers = load_manifest(tmp_path / "b.csv", NUMBER)
    np.testing.assert_array_equal(table_targets(numbers, ["value"], REGRESSION), np.float32([1.5, 2]))


def test_folders_carry_labels_too(tmp_path: Path) -> None:
    for name in ("dog,rain", "rain"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.wav").write_bytes(b"")
    splits = load_folder(tmp_path, columns=SEVERAL)
    assert splits.train is not None
    assert [clip.label for clip in splits.train] == [("dog", "rain"), ("rain",)]
    with pytest.raises(DataError, match="rain' is not a number"):
        load_folder(tmp_path, columns=NUMBER)


def several(count: int, seed: int = 0) -> ClipTable:
    rng = np.random.default_rng(seed)
    shares = {"often": 0.5, "seldom": 0.1}
    return ClipTable(
        [
            Clip(f"{i}.wav", path=f"{i}.wav", label=tuple(name for name, p in shares.items() if rng.random() < p))
            for i in range(count)
        ],
        "table",
    )


def test_every_label_gives_its_share_to_validation_and_folds() -> None:
    table = several(400)
    train, validation = make_validation_split(table, 0.2, seed=1)
    for name in ("often", "seldom"):
        share = validation.label_counts()[name] / table.label_counts()[name]
        assert share == pytest.approx(0.2, abs=0.03), name
    without = [sum(clip.label == () for clip in one) for one in (train, validation)]
    assert without[1] / sum(without) == pytest.approx(0.2, abs=0.03)  # clips without any label are shared out as well
    folds = make_folds(table, 4, seed=0)
    seldom = [
        sum(f == str(k + 1) and "seldom" in c.classes for f, c in zip(folds, table, strict=True)) for k in range(4)
    ]
    assert max(seldom) - min(seldom) <= 1


def test_validation_has_numbers_of_the_whole_range() -> None:
    table = ClipTable([Clip(f"{i}.wav", path=f"{i}.wav", label=float(i) ** 2) for i in range(100)], "table")
    _, validation = make_validation_split(table, 0.2, seed=3)
    fifths = np.bincount([int(np.sqrt(float(clip.label)) // 20) for clip in validation], minlength=5)  # type: ignore[arg-type]
    np.testing.assert_array_equal(fifths, [4] * 5)


def test_data_that_teaches_nothing_is_refused() -> None:
    same = ClipTable([Clip("a", label=("x",)), Clip("b", label=("x",))], "table")
    with pytest.raises(DataError, match="all 2 training clips have the same labels"):
        check_tables(Splits(train=same))
    numbers = ClipTable([Clip("a", label=2.0), Clip("b", label=2.0)], "table")
    with pytest.raises(DataError, match="all 2 training clips have the number 2"):
        check_tables(Splits(train=numbers))
    time_s = ClipTable([Clip(f"{i}", label=1.7e9 + i) for i in range(9)], "table")
    with pytest.raises(
        DataError, match=r"1700000000 to 1700000008, are too close .* rounds them by up to 8\. Use smaller"
    ):
        check_tables(Splits(train=time_s))
    # one label that is there or not is something to learn
    check_tables(Splits(train=ClipTable([Clip("a", label=("x",)), Clip("b", label=())], "table")))


def test_a_label_that_training_lacks_is_named() -> None:
    train = ClipTable([Clip("a", label=("x",)), Clip("b", label=("y",))], "train.csv")
    test = ClipTable([Clip("c", label=("x", "zebra"))], "test.csv")
    with pytest.raises(DataError, match=r"test\.csv: the test split has labels that no training clip has: 'zebra'"):
        check_tables(Splits(train=train, test=test))


def test_shots_count_every_label(tmp_path: Path) -> None:
    rows = "".join(f'{i}.wav,"{"a,b" if i % 4 == 0 else "a"}"\n' for i in range(40))
    (tmp_path / "a.csv").write_text("file,label\n" + rows)
    options = DataArguments(train_file=str(tmp_path / "a.csv"), eval_file=str(tmp_path / "a.csv"), shots=3,
                            task="multi_label")  # fmt: skip
    train = load_splits(options, seed=0).train
    assert train is not None
    counts = train.label_counts()
    assert counts["b"] == 3
    assert counts["a"] >= 3


@pytest.mark.parametrize("settings", [{"task": "ranking"}, {"label_separator": ""}])
def test_settings_that_cannot_be_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=next(iter(settings))):
        DataArguments(data_dir="x", **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(("settings", "label"), [({}, ("dog", "rain")), ({"label_column_name": "label"}, ("cat",))])
def test_the_column_that_is_named_comes_before_labels(
    settings: dict[str, str], label: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "a.wav").touch()
    (tmp_path / "t.csv").write_text('path,label,labels\na.wav,cat,"dog,rain"\n')
    own = {"train_file": str(tmp_path / "t.csv"), "task": "multi_label", "validation_fraction": 0, **settings}
    options = DataArguments(**own, given=frozenset(settings))  # type: ignore[arg-type]
    splits = load_splits(options, seed=0, check=False)
    assert splits.train is not None
    assert splits.train[0].label == label
