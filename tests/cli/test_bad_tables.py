"""Folders and tables of clips that cannot be used are one line each; odd names and labels are no mistake."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import soundfile

from earmark.cli.main import main
from tests.cli.refusals import Refusal, one_line, train, unknown_class
from tests.tiny import RATE_HZ, tone


def one_class(data: Path) -> str:
    for split in ("train", "validation"):
        shutil.rmtree(data / split / "high")
    return "at least two classes"


def two_spellings(data: Path) -> str:
    shutil.copytree(data / "train" / "low", data / "train" / "LOW")
    return "'LOW' (6 clips) and 'low'"


def nothing_to_train_on(data: Path) -> str:
    shutil.rmtree(data / "train")
    return "no training clips"


def nothing(data: Path) -> str:
    shutil.rmtree(data)
    data.mkdir()
    return "no class folders with recordings in them"


def gone(data: Path) -> str:
    shutil.rmtree(data)
    return "no such folder"


@pytest.mark.parametrize("damage", [one_class, unknown_class, two_spellings, nothing_to_train_on, nothing, gone])
def test_folders_that_cannot_be_learned(data: Path, tmp_path: Path, refusal: Refusal, damage) -> None:
    said = damage(data)
    one_line(refusal(*train("--data_dir", data, to=tmp_path / "run")), data, said)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "", "the file is empty"),
        ("a.csv", "audio,label\n", "has no rows"),
        ("a.csv", "wave,label\n{low},a\n", "no column 'audio'"),
        ("a.csv", "audio,label\n{low},a,b\n{high},b\n", "row 2: 3 cells"),
        ("a.csv", "audio,label\n{low},0.1\n{high},0.25\n", "--label_column_name"),
        ("a.csv", "audio,label\n{low},a\n{high},\n", "row 3: has no label"),
        ("a.csv", "audio,label\n{low},a\n{high},b\n", "set aside"),
        ("a.jsonl", '{{"audio": "{low}", "label": ["a", "b"]}}\n', "row 1: the label is a list"),
        ("a.jsonl", '{{"audio": "{low}", "label": "a"}}\n{{oops\n', "row 2: not JSON"),
        ("a.txt", "audio,label\n", "has no rows"),
        ("a.doc", "audio,label\n", ".csv"),
        ("a.parquet", "audio,label\n", "cannot be read"),
    ],
)
def test_manifests(tones: Path, tmp_path: Path, refusal: Refusal, name: str, text: str, said: str) -> None:
    clips = {"low": tones / "train" / "low" / "train_0.wav", "high": tones / "train" / "high" / "train_0.wav"}
    manifest = tmp_path / name
    manifest.write_text(text.format(**clips))
    one_line(refusal(*train("--train_file", manifest, to=tmp_path / "run")), manifest, said)


def test_a_recording_that_is_not_there(tones: Path, tmp_path: Path, refusal: Refusal) -> None:
    manifest = tmp_path / "a.csv"
    rows = [f"{path},{path.parent.name}" for path in sorted((tones / "train").rglob("*.wav"))]
    manifest.write_text("\n".join(["audio,label", *rows, f"{tmp_path}/gone.wav,low", ""]))
    message = refusal(*train("--train_file", manifest, to=tmp_path / "run"))
    assert f"{tmp_path}/gone.wav: no such file" in message


def test_odd_labels_odd_names_and_a_split_that_is_made(tmp_path: Path) -> None:
    place = tmp_path / "Ämter & 录音 1"
    place.mkdir()
    labels = ['a, "b"\nc\'d', "日本語"]
    with (place / "my clips.csv").open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["audio", "label"])
        for i in range(8):
            soundfile.write(place / f"é {i}.wav", tone(300 + 300 * i, 0.2, seed=i), RATE_HZ)
            rows.writerow([f"é {i}.wav", labels[i % 2]])
    run = place / "a run"
    assert main([str(word) for word in train("--train_file", place / "my clips.csv", to=run)]) == 0
    assert json.loads((run / "labels.json").read_text(encoding="utf-8")) == labels
    output = place / "out put.csv"
    words = ["predict", run, place, "--output", output, "--device", "cpu", "--top_k", "2"]
    assert main([str(word) for word in words]) == 0
    with output.open(newline="", encoding="utf-8") as stream:
        answers = list(csv.DictReader(stream))
    assert [Path(row["path"]).name for row in answers] == [f"é {i}.wav" for i in range(8)]
    assert all({row["label"], row["label_2"]} == set(labels) for row in answers)
