"""The tables beside the checkout: how people have them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from earmark.audio.decode import read_clip
from earmark.clips.clip import Clip
from earmark.errors import DataError
from earmark.settings.data_flags import DataArguments
from earmark.sources.load_clips import load_splits

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
TABLES = CASES / "tables"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not TABLES.is_dir(), reason="the real recordings are not beside the checkout"),
]


def clips_in(name: str, **settings: Any) -> list[Clip]:
    splits = load_splits(DataArguments(train_file=str(TABLES / name), **settings), seed=0)
    return sorted([*(splits.train or []), *(splits.validation or [])], key=lambda clip: clip.source)


def counts(clips: list[Clip]) -> dict[str, int]:
    return dict(Counter(clip.label_text for clip in clips))


TABLE_OF_12 = {"low": 12, "high": 12}


@pytest.mark.parametrize("name", ["never_closed", "opens_and_closes_later", "plain", "quoted_start", "two_pairs"])
def test_quotes_in_tsv(name: str) -> None:
    clips = clips_in(f"quotes_in_tsv/{name}.tsv", label_column_name="gender")
    expected = ["male_masculine", "female_feminine"] * 12
    assert [(clip.source, clip.label) for clip in clips] == [
        (f"common_voice_{i:03}.wav", label) for i, label in enumerate(expected)
    ]


@pytest.mark.parametrize("name", ["strong.tsv", "start_end.csv"])
def test_events(name: str) -> None:
    clips = clips_in(f"dcase_onset_offset/{name}")
    assert {(clip.label, clip.offset_s, clip.duration_s) for clip in clips} == {
        ("Dishes", 0.2, 0.5),
        ("Speech", 1.0, 0.8),
    }
    assert [len(read_clip(clip, 16_000)) for clip in clips[:2]] in ([8_000, 12_800], [12_800, 8_000])


def test_recordings_below_the_table() -> None:
    assert counts(clips_in("audio_in_a_folder/kaggle/train.csv", audio_column_name="id")) == {"low": 6, "high": 6}
    clips = clips_in("nfc_table_nfd_files/train.csv")
    assert counts(clips) == TABLE_OF_12
    assert all(Path(str(clip.path)).is_file() for clip in clips)


def test_filename_in_metadata() -> None:
    splits = load_splits(DataArguments(data_dir=str(TABLES / "filename_in_metadata/data")), seed=0)
    assert counts([*(splits.train or []), *(splits.validation or [])]) == TABLE_OF_12


ONE_LABEL = ("comment.csv", "excel_trailing.csv", "onehot.csv", "sep_line.csv", "tab.csv", "pandas_columns.json")


@pytest.mark.parametrize("name", [*ONE_LABEL, "speechbrain.json"])
def test_one_label_each(name: str) -> None:
    clips = clips_in(f"python_lists/{name}")
    assert counts(clips) == TABLE_OF_12
    assert all(Path(str(clip.path)).is_file() for clip in clips)


@pytest.mark.parametrize("name", ["pylist.csv", "pyset.csv", "pytuple.csv", "rows_per_label.csv"])
def test_several_labels(name: str) -> None:
    clips = clips_in(f"python_lists/{name}", task="multi_label")
    assert Counter(label for clip in clips for label in clip.classes) == {"low": 12, "high": 12, "tone": 24}


def test_missing_labels() -> None:
    with pytest.raises(DataError, match=r"row 2: has no label.*4 other rows.*--on_missing_label skip"):
        clips_in("python_lists/nan.csv")
    assert counts(clips_in("python_lists/nan.csv", on_missing_label="skip")) == {"low": 10, "high": 9}


def test_another_separator() -> None:
    clips = clips_in("python_lists/space_sep.csv", task="multi_label", label_separator=" ")
    assert counts(clips) == {"high,tone": 12, "low,tone": 12}


def test_blanks_after_commas() -> None:
    assert counts(clips_in("space_after_comma/train.csv")) == {"low": 10, "high": 10}
    clips = clips_in("space_after_comma/segments.csv", task="multi_label")
    assert {(clip.classes, clip.offset_s, clip.duration_s) for clip in clips} == {
        (("/m/00", "/t/dd9"), 0.0, 10.0),
        (("/m/01", "/t/dd9"), 0.0, 10.0),
    }


def test_parquet_of_arrays() -> None:
    pytest.importorskip("datasets")
    clips = clips_in("parquet_of_arrays/array_struct.parquet")
    assert len(clips) == 8
    assert all(len(read_clip(clip, 16_000)) for clip in clips)
    with pytest.raises(DataError, match="samples without their sampling rate"):
        clips_in("parquet_of_arrays/list.parquet")


def test_an_export_of_a_labelling_tool() -> None:
    splits = load_splits(
        DataArguments(train_file=str(CASES / "label_export.json"), label_column_name="choice", validation_fraction=0.3),
        seed=0,
    )
    assert counts([*(splits.train or []), *(splits.validation or [])]) == {"yes": 4, "stop": 4, "left": 4}
