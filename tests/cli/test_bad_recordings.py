"""Broken recordings are reported one by one; odd ones are used."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.cli.main import main
from tests.cli.refusals import Refusal, one_line, train
from tests.tiny import RATE_HZ, tone


def broken_clips(folder: Path, whole: Path) -> dict[str, str]:
    """Write a clip of each kind of damage; file name to what the message says of it."""
    (folder / "empty.wav").write_bytes(b"")
    soundfile.write(folder / "zero.wav", np.zeros(0, np.float32), RATE_HZ)
    (folder / "text.wav").write_text("this is no sound " * 50)
    (folder / "cut.wav").write_bytes(whole.read_bytes()[:3000])
    wave = tone(440, 0.2)
    wave[100] = np.nan
    soundfile.write(folder / "nan.wav", wave, RATE_HZ, subtype="FLOAT")
    return {"empty": "empty (0 bytes)", "zero": "no samples", "text": "audio", "cut": "cut short", "nan": "NaN"}


def test_every_broken_recording_is_listed_before_training(data: Path, tmp_path: Path, refusal: Refusal) -> None:
    said = broken_clips(data / "train" / "low", data / "train" / "low" / "train_0.wav")
    first, *lines = refusal(*train("--data_dir", data, to=tmp_path / "run")).splitlines()
    assert "--on_bad_audio skip" in first
    assert len(lines) == len(said)
    for name, reason in said.items():
        (line,) = (line for line in lines if f"{name}.wav: " in line)
        assert reason in line
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_skipped_recordings_are_listed_and_not_replaced(data: Path, tmp_path: Path) -> None:
    for split in ("train", "validation"):
        said = broken_clips(data / split / "low", data / "train" / "low" / "train_0.wav")
    words = [*train("--data_dir", data, to=tmp_path / "run"), "--on_bad_audio", "skip"]
    assert main([str(word) for word in words]) == 0
    with (tmp_path / "run" / "bad_audio.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {Path(row["path"]).stem for row in rows} == set(said)
    assert [row["split"] for row in rows] == ["train"] * len(said) + ["validation"] * len(said)
    with (tmp_path / "run" / "predictions_validation.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 6


def test_a_split_without_one_good_recording(data: Path, tmp_path: Path, refusal: Refusal) -> None:
    for path in (data / "validation").rglob("*.wav"):
        path.write_bytes(b"")
    message = refusal(*train("--data_dir", data, "--on_bad_audio", "skip", to=tmp_path / "run"))
    one_line(message, data / "validation", "none of the 6 recordings could be used")


def test_one_sample_and_a_studio_recording(data: Path, tmp_path: Path) -> None:
    soundfile.write(data / "train" / "low" / "one.wav", tone(300, 1 / RATE_HZ), RATE_HZ)
    wave = tone(300, 0.3, rate_hz=44_100)
    studio = data / "train" / "low" / "studio.wav"
    soundfile.write(studio, np.stack([wave, wave], axis=1), 44_100, subtype="PCM_24")
    words = [*train("--data_dir", data, to=tmp_path / "run"), "--per_device_train_batch_size", "99"]
    assert main([str(word) for word in words]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())["train"]
    assert metrics["steps"] == 1
    assert metrics["clips"] == 14  # all there are, although the batch has room for 99
    assert metrics["samples_per_second"] == pytest.approx(14 / metrics["training_s"])
