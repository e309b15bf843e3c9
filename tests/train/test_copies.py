"""Copies that training finds by itself, in the samples it stores."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.audit.training_copies import find_copies
from earmark.clips.clip import Clip, ClipTable
from earmark.settings.data_flags import DataArguments
from earmark.train.prepared_data import PreparedData, prepare_data
from tests.tiny import RATE_HZ, write_tones


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_tones(tmp_path / "data", per_class=8, seconds=0.2)


def prepared(data: Path, **settings: object) -> PreparedData:
    options = DataArguments(data_dir=str(data), **settings)  # type: ignore[arg-type]
    return prepare_data(options, RATE_HZ, seed=0)


def as_flac(source: Path, target: Path) -> None:
    samples, rate_hz = soundfile.read(source, dtype="int16")
    soundfile.write(target, samples, rate_hz)


@pytest.mark.parametrize("store", ["int16", "off"])
def test_copies_of_training_clips_in_other_splits(data: Path, caplog: pytest.LogCaptureFixture, store: str) -> None:
    for i in range(5):
        as_flac(data / "train" / "low" / f"train_{i}.wav", data / "validation" / "low" / f"other_name_{i}.flac")
    (data / "test").mkdir()
    shutil.copytree(data / "validation" / "high", data / "test" / "high")
    shutil.copytree(data / "train" / "low", data / "test" / "low")
    with caplog.at_level(logging.WARNING):
        found = prepared(data, store=store)
    (validation,) = (text for text in caplog.messages if "validation clips have" in text)
    first = data / "validation" / "low" / "other_name_0.flac"
    assert f"5 of 13 validation clips have the same samples as training clips ({first} = " in validation
    assert f"{first} = {data / 'train' / 'low' / 'train_0.wav'}; " in validation
    assert validation.count(".flac") == 3
    assert "; and 2 more)" in validation
    assert "so scores on the validation split are too high. Remove the copies" in validation
    assert "data: 8 of 12 test clips have the same samples" in caplog.text
    for split, count in (("validation", 5), ("test", 8)):
        trained_on = found.trained_on(split)
        assert trained_on is not None
        assert trained_on.sum() == count


def test_copies_with_other_labels_in_training(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copy(data / "train" / "low" / "train_3.wav", data / "train" / "high" / "wrong.wav")
    shutil.copy(data / "train" / "low" / "train_4.wav", data / "train" / "low" / "again.wav")
    with caplog.at_level(logging.WARNING):
        prepared(data)
    (conflict,) = (text for text in caplog.messages if "different labels" in text)
    assert "1 recording is in the training split more than once, with different labels" in conflict
    assert "wrong.wav 'high'" in conflict
    assert "train_3.wav 'low'" in conflict
    assert conflict.endswith("Correct the labels or remove the copies.")
    (alike,) = (text for text in caplog.messages if "than others" in text)
    assert "again.wav = " in alike


def test_silence_and_different_clips_are_no_copies(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    for place in ("train/low", "train/high", "validation/low"):
        soundfile.write(data / place / "silence.wav", np.zeros(800), RATE_HZ)
    with caplog.at_level(logging.WARNING):
        found = prepared(data)
    assert "same samples" not in caplog.text
    assert "more than once" not in caplog.text
    trained_on = found.trained_on("validation")
    assert trained_on is not None
    assert not trained_on.any()


def test_excerpts_of_one_recording_are_different_clips_and_rows_of_one_clip_are_not() -> None:
    def table(*starts_s: float) -> ClipTable:
        return ClipTable([Clip(f"{start:g}", "a", "x.wav", offset_s=start, duration_s=0.1) for start in starts_s], "x")

    tables = {"train": table(0.0, 0.1, 0.2), "validation": table(0.2, 0.3)}
    contents = {"train": np.array([1, 2, 3], np.uint64) << 50, "validation": np.array([3, 4], np.uint64) << 50}
    (leak,) = find_copies(tables, contents)
    assert "1 of 2 validation clips has the same samples as training clips (0.2 from 0.200 to 0.300 s = " in leak.text


def test_the_order_of_several_labels_is_no_conflict() -> None:
    table = ClipTable([Clip("1.wav", ("a", "b")), Clip("2.wav", ("b", "a"))], "data")
    (finding,) = find_copies({"train": table}, {"train": np.full(2, 1 << 50, np.uint64)})
    assert finding.kind == "duplicate"
