"""Which folders are classes, which are splits, and what is refused because it could be either."""

from __future__ import annotations

from pathlib import Path

import pytest

from earmark.clips.clip import Splits
from earmark.errors import DataError, EarmarkError
from earmark.settings.data_flags import DataArguments
from earmark.sources.load_clips import load_own_splits
from earmark.sources.unlabelled import load_unlabelled
from tests.sources.empty_files import touch

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "tables"


def load(folder: Path, **options: str) -> Splits:
    return load_own_splits(DataArguments(data_dir=str(folder), **options), seed=0)


def counts(splits: Splits) -> dict[str, dict[str, int]]:
    tables = {split: getattr(splits, split) for split in ("train", "validation", "test")}
    return {split: dict(sorted(t.label_counts().items())) for split, t in tables.items() if t is not None}


AB, CD = {"a": 1, "b": 1}, {"a": 1}
BOTH = {"train": AB, "test": CD}

# the files in a folder, and the clips of each class in each split
FOLDERS: dict[str, tuple[list[str], dict[str, dict[str, int]]]] = {
    "capitals": (["Train/a/1.wav", "Train/b/1.wav", "TEST/a/1.wav"], BOTH),
    "other words": (["training/a/1.wav", "training/b/1.wav", "testing/a/1.wav"], BOTH),
    "_data": (["train_data/a/1.wav", "train_data/b/1.wav", "val_data/a/1.wav"], {"train": AB, "validation": CD}),
    "sets": (["trainset/a/1.wav", "trainset/b/1.wav", "TestSet/a/1.wav"], BOTH),
    "audio before": (["audio_train/a/1.wav", "audio_train/b/1.wav", "audio-test/a/1.wav"], BOTH),
    "eval": (["train/a/1.wav", "train/b/1.wav", "eval/a/1.wav"], {"train": AB, "validation": CD}),
    "Chinese": (["训练集/a/1.wav", "训练集/b/1.wav", "测试集/a/1.wav"], BOTH),
    "a stray recording beside classes": (["a/1.wav", "b/1.wav", "x.wav"], {"train": AB}),
    "a stray recording beside the classes of a split": (
        ["train/a/1.wav", "train/b/1.wav", "train/x.wav", "test/a/1.wav", "test/y.wav"],
        BOTH,
    ),
    "other stray files": (
        ["README.md", "Thumbs.db", ".DS_Store", "train/a/1.wav", "train/b/1.wav", "train/README", "test/a/1.wav"],
        BOTH,
    ),
    "an unlabelled test split": (["train/a/1.wav", "train/b/1.wav", "test/1.wav", "test/2.wav"], {"train": AB}),
    "the test split beside the classes": (["a/1.wav", "b/1.wav", "test/a/1.wav"], BOTH),
    "an unpacked archive": (["data/a/1.wav", "data/b/1.wav", "README"], {"train": AB}),
    "a nested unpacked archive": (["data/audio/train/a/1.wav", "data/audio/train/b/1.wav", "__MACOSX/a/._1.wav"],
                                  {"train": AB}),
    "splits in a folder of any name": (["x/train/a/1.wav", "x/train/b/1.wav", "x/test/a/1.wav", "doc/x.pdf"], BOTH),
    "a folder within each split": (["train/audio/a/1.wav", "train/audio/b/1.wav", "test/wav/a/1.wav"], BOTH),
    "splits within each class": (["a/train/1.wav", "b/train/1.wav", "a/test/2.wav"], BOTH),
    "folders within classes": (["a/who/1.wav", "b/who/x/1.wav"], {"train": AB}),
    "one class": (["a/1.wav"], {"train": CD}),
    "an empty class": (["a/1.wav", "b/1.wav", "c/x.txt"], {"train": AB}),
    "an empty split": (["train/a/1.wav", "train/b/1.wav", "test/README"], {"train": AB}),
    "different classes": (["train/a/1.wav", "train/b/1.wav", "test/c/1.wav"], {"train": AB, "test": {"c": 1}}),
    "spaces and Unicode": (["a b/1.wav", "e\u0301/1.wav", "雨/x y.wav"], {"train": {"a b": 1, "\u00e9": 1, "雨": 1}}),
    "noise beside splits": (["train/a/1.wav", "train/b/1.wav", "test/a/1.wav", "pool/1.wav"], BOTH),
    "Speech Commands' noise": (["train/a/1.wav", "train/b/1.wav", "_background_noise_/1.wav"], {"train": AB}),
    "archives": (["a/1.wav", "b/1.wav", "test.zip", "b.tar.gz"], {"train": AB}),
    "classes that begin like a split": (["train_station/1.wav", "test_tone/1.wav"],
                                        {"train": {"test_tone": 1, "train_station": 1}}),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_with_one_meaning(name: str, tmp_path: Path) -> None:
    files, wanted = FOLDERS[name]
    assert counts(load(touch(tmp_path, *files))) == wanted


AMBIGUOUS = {
    "test beside classes": (["high/1.wav", "low/1.wav", "test/1.wav", "test/2.wav"],
                            ["test (2 recordings) looks like a split", "high (1 recording), low (1 recording)",
                             "--test_split_name none", "move test out of"]),
    "train beside a class": (["train/1.wav", "plane/1.wav"], ["train (1 recording)", "--train_split_name none"]),
    "train with folders beside a class": (["train/steam/1.wav", "plane/1.wav"],
                                          ["plane (1 recording)", "--train_split_name none", "--data_dir"]),
    "classes and another test split": (["a/1.wav", "b/1.wav", "test/c/1.wav"], ["test (1 recording)", "b (1"]),
    "splits without classes": (["train/1.wav", "test/2.wav"],
                               ["train (1 recording) and test (1 recording) look like splits", "no class folders",
                                "/train/CLASS", "metadata.csv", "--train_split_name none --test_split_name none"]),
    "train_data and val_data without classes": (["train_data/1.wav", "val_data/2.wav"],
                                                ["train_data (1 recording) and val_data (1 recording)"]),
    "only test has classes": (["train/1.wav", "test/a/1.wav"], ["/train: 1 recording without class folders"]),
    "two validation splits": (["train/a/1.wav", "val/a/1.wav", "dev_data/a/1.wav"], ["both the validation split"]),
    "folds": (["fold1/a/1.wav", "fold2/a/1.wav"], ["fold1 (1 recording), fold2 (1 recording)", "--fold_column fold"]),
    "evaluation": (["a/1.wav", "b/1.wav", "evaluation/1.wav"], ["--test_split_name evaluation"]),
    "unlabelled": (["a/1.wav", "b/1.wav", "unlabelled/1.wav"], ["unlabelled", "move it out of"]),
    "splits in some classes": (["a/train/1.wav", "a/test/2.wav", "b/1.wav"],
                               ["2 recordings are in folders named like a split", "b/1.wav"]),
    "one folder of recordings": (["wavs/1.wav", "wavs/2.wav"], ["2 recordings but no class folders"]),
    "only an archive": (["data.zip"], ["no class folders", "archives are not read: data.zip. Extract them"]),
    "a folder without recordings": (["a/x.txt", "b/y.txt"], ["Found: a, b.", "Skipped 2 files", "2 .txt"]),
}  # fmt: skip


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_folders_that_are_refused(name: str, tmp_path: Path) -> None:
    files, said = AMBIGUOUS[name]
    with pytest.raises(DataError) as caught:
        load(touch(tmp_path, *files))
    for text in said:
        assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_class_is_called_like_a_split_if_the_user_says_so(tmp_path: Path) -> None:
    touch(tmp_path, "high/1.wav", "low/1.wav", "test/1.wav")
    assert counts(load(tmp_path, test_split_name="none")) == {"train": {"high": 1, "low": 1, "test": 1}}


def test_a_split_of_any_name(tmp_path: Path) -> None:
    touch(tmp_path, "fold1/a/1.wav", "fold1/b/1.wav", "fold2/a/2.wav", "eval/a/3.wav")
    splits = load(tmp_path, train_split_name="fold1", eval_split_name="fold2", test_split_name="eval")
    assert counts(splits) == {"train": {"a": 1, "b": 1}, "validation": {"a": 1}, "test": {"a": 1}}


def test_a_split_that_is_not_there(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.wav", "train/b/1.wav", "test/a/3.wav")
    splits = load(tmp_path, eval_split_name="exam")
    assert counts(splits) == BOTH
    assert f"{tmp_path}: no folder is called exam (--eval_split_name)" in splits.notes


def test_scripts_beside_an_unpacked_archive(tmp_path: Path) -> None:
    touch(tmp_path, "train.py", "test.sh", "requirements.txt", "data/a/1.wav", "data/b/1.wav")
    assert counts(load(tmp_path)) == {"train": AB}


def test_what_was_not_used_is_said(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.wav", "train/b/1.wav", "test/1.wav", "validation/x.txt", "y.wav")
    notes = load(tmp_path).notes
    assert f"{tmp_path}/validation: has no recordings, so there is no validation split in it" in notes
    assert any(note.startswith(f"{tmp_path}/test: did not use 1 recording: no class folders") for note in notes)
    assert f"{tmp_path}: did not use 1 recording outside class folders" in notes


def test_one_folder_that_may_not_be_the_class(tmp_path: Path) -> None:
    touch(tmp_path, "birds/robin/1.wav", "birds/wren/1.wav")
    splits = load(tmp_path)
    assert counts(splits) == {"train": {"birds": 2}}
    assert splits.notes == [
        f"{tmp_path}: birds is the only folder and therefore the only class. If robin, wren are the classes, add "
        f"--data_dir {tmp_path}/birds instead"
    ]


def test_a_wrapper_with_the_name_of_its_folder(tmp_path: Path) -> None:
    touch(tmp_path / "ESC-50-master", "ESC-50/robin/1.wav", "ESC-50/wren/1.wav")
    splits = load(tmp_path / "ESC-50-master")
    assert counts(splits) == {"train": {"robin": 1, "wren": 1}}
    assert splits.notes[0].endswith("ESC-50-master/ESC-50, the only folder with recordings in it")


def test_linked_splits_keep_their_recordings(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.wav", "train/b/1.wav", "test/a/1.wav")
    (tmp_path / "validation").symlink_to(tmp_path / "test")
    assert counts(load(tmp_path)) == {"train": AB, "validation": CD, "test": CD}


# ---------------------------------------------------------------- tables in the folder


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def table(header: str, *paths: str) -> str:
    return f"{header}\n" + "".join(f"{path},{'ab'[i % 2]}\n" for i, path in enumerate(paths))


def test_a_table_beside_splits_without_classes(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.wav", "train/2.wav", "test/3.wav", "test/4.wav")
    write(tmp_path / "labels.csv", table("file,label", "train/1.wav", "train/2.wav", "test/3.wav"))
    splits = load(tmp_path)
    assert counts(splits) == {"train": AB, "test": {"a": 1}}
    assert splits.notes == [
        f"{tmp_path}: labels and recordings come from labels.csv",
        f"{tmp_path}: did not use 1 recording that no row of the table names: test/4.wav",
    ]


def test_a_table_beside_a_folder_of_recordings(tmp_path: Path) -> None:
    touch(tmp_path, "wavs/1.wav", "wavs/2.wav")
    write(tmp_path / "annotations.csv", table("path,label", "wavs/1.wav", "wavs/2.wav"))
    write(tmp_path / "package.json", "{}")
    assert counts(load(tmp_path)) == {"train": AB}
    assert load_unlabelled(DataArguments(data_dir=str(tmp_path)), seed=0) is None


def test_a_table_in_a_folder_of_its_own_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "audio/1.wav", "audio/2.wav")
    write(tmp_path / "meta" / "esc50.csv", table("filename,category", "1.wav"))
    with pytest.raises(DataError, match=r"no class folders.*add --train_file .*meta/esc50\.csv"):
        load(tmp_path)


def test_tables_that_do_not_help_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.wav", "test/2.wav")
    write(tmp_path / "labels.csv", "a,b\n1,2\n")
    with pytest.raises(
        DataError, match=r"no class folders.*The table in this folder cannot be used: .*labels\.csv: no column"
    ):
        load(tmp_path)
    write(tmp_path / "more.csv", "a,b\n1,2\n")
    with pytest.raises(DataError, match=r"several tables: labels\.csv, more\.csv.*--train_file"):
        load(tmp_path)


def test_tables_beside_classes_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.wav", "b/1.wav", "validation_list.txt", "x.zip", "requirements.txt")
    write(tmp_path / "labels.csv", table("file,label", "a/1.wav"))
    notes = load(tmp_path).notes
    assert f"{tmp_path}: did not use labels.csv. Add --train_file, --eval_file or --test_file FILE to use one" in notes
    assert any("did not use validation_list.txt: lists" in note for note in notes)
    assert f"{tmp_path}: archives are not read: x.zip. Extract them to use their recordings" in notes


@pytest.mark.parametrize("name", ["eval.csv", "Validation.csv", "val_labels.csv", "dev.tsv"])
def test_a_table_for_each_split(name: str, tmp_path: Path) -> None:
    touch(tmp_path, *[f"{i}.wav" for i in range(5)])
    write(tmp_path / "train.csv", table("file,label", "0.wav", "1.wav"))
    write(tmp_path / name, table("file,label", "2.wav").replace(",", "\t" if name.endswith("tsv") else ","))
    write(tmp_path / "test_labels.csv", table("file,label", "3.wav"))
    write(tmp_path / "extra.csv", table("file,label", "4.wav"))
    splits = load(tmp_path)
    assert counts(splits) == {"train": AB, "validation": CD, "test": CD}
    assert splits.notes == [
        f"{tmp_path}: did not use extra.csv. Add --train_file, --eval_file or --test_file FILE to use one"
    ]


def test_a_table_of_the_test_split_beside_classes(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.wav", "b/1.wav", "a/2.wav")
    write(tmp_path / "test.csv", table("file,label", "a/2.wav"))
    splits = load(tmp_path)
    assert counts(splits) == BOTH
    assert "2 recordings of the class folders are used for training; those in test.csv are not" in splits.notes[0]


@pytest.mark.parametrize("start", ["", "data/", "./"])
def test_metadata_that_names_the_folders_of_splits(start: str, tmp_path: Path) -> None:
    paths = [f"{start}{folder}/{i}.wav" for folder in ("Train", "eval", "test_data") for i in range(2)]
    touch(tmp_path, *paths)
    write(tmp_path / "metadata.csv", table("file_name,label", *paths))
    assert counts(load(tmp_path)) == {"train": AB, "validation": AB, "test": AB}


def test_metadata_of_splits_and_another_folder(tmp_path: Path) -> None:
    paths = ["train/1.wav", "train/2.wav", "test/1.wav", "extra/1.wav"]
    write(tmp_path / "metadata.csv", table("file_name,label", *paths))
    with pytest.raises(DataError, match=r"train/ \(2 rows\), test/ \(1 row\); others do not: extra/ \(1 row\)"):
        load(tmp_path)
    assert counts(load(tmp_path, eval_split_name="extra"))["validation"] == {"b": 1}


def test_metadata_of_a_class_called_like_a_split(tmp_path: Path) -> None:
    paths = ["train/1.wav", "train/2.wav", "bus/1.wav", "bus/2.wav"]
    touch(tmp_path, *paths)
    write(tmp_path / "metadata.csv", table("file_name,label", *paths))
    with pytest.raises(DataError, match=r"If train/ is a class, add --train_split_name none$"):
        load(tmp_path)
    assert counts(load(tmp_path, train_split_name="none")) == {"train": {"a": 2, "b": 2}}


def test_metadata_with_a_column_of_splits(tmp_path: Path) -> None:
    touch(tmp_path, "1.wav", "2.wav", "3.wav")
    write(tmp_path / "metadata.csv", "file_name,label,split\n1.wav,a,train\n2.wav,b,train\n3.wav,a,Test\n")
    splits = load(tmp_path)
    assert counts(splits) == BOTH
    assert splits.notes == [f"{tmp_path}/metadata.csv: the column 'split' decides the split of each clip"]


# ---------------------------------------------------------------- cases of users


@pytest.mark.shared
@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not beside the checkout")
@pytest.mark.parametrize(
    ("case", "wanted"),
    [
        ("class_called_test", None),
        ("splits_without_classes", {"train": {"high": 4, "low": 4}}),
        (
            "metadata_of_other_splits",
            {"train": {"high": 6, "low": 6}, "validation": {"high": 2, "low": 2}, "test": {"high": 4, "low": 4}},
        ),
        (
            "eval_csv_not_seen",
            {"train": {"high": 6, "low": 6}, "validation": {"high": 3, "low": 3}, "test": {"high": 3, "low": 3}},
        ),
    ],
)
def test_cases_of_users(case: str, wanted: dict[str, dict[str, int]] | None) -> None:
    if wanted is not None:
        assert counts(load(CASES / case / "data")) == wanted
        return
    with pytest.raises(EarmarkError, match=r"test \(6 recordings\) looks like a split.*--test_split_name none"):
        load(CASES / case / "data")


def test_a_test_table_without_labels_is_no_test_split(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.wav", "a/2.wav", "b/3.wav", "b/4.wav", "c/5.wav")
    rows = [("a/1.wav", "x"), ("a/2.wav", "x"), ("b/3.wav", "y"), ("b/4.wav", "y")]
    (tmp_path / "train.csv").write_text("path,label\n" + "".join(f"{path},{label}\n" for path, label in rows))
    (tmp_path / "test.csv").write_text("path\nc/5.wav\n")
    splits = load_own_splits(DataArguments(data_dir=str(tmp_path)), seed=0)
    assert splits.test is None
    assert len(splits.train or []) == 4
    assert any("test.csv: has no labels" in note for note in splits.notes)
    (tmp_path / "test.csv").write_text("sound\nc/5.wav\n")
    with pytest.raises(DataError, match=r"test\.csv: no column 'audio'"):
        load_own_splits(DataArguments(data_dir=str(tmp_path)), seed=0)
