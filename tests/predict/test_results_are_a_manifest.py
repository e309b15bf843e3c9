"""The CSV that ``earmark predict`` writes is a manifest: its columns are read as recording, place and label."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import soundfile

from earmark.cli.main import main
from earmark.sources.manifests import load_manifest
from tests.tiny import RATE_HZ, save_model, tone


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model and two recordings, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    save_model(Path("model"), 0.5)
    Path("tapes").mkdir()
    for number in range(2):
        soundfile.write(f"tapes/{number}.wav", tone(300 + 900 * number, 2.0, seed=number), RATE_HZ)
    return tmp_path


def rows_in(path: str) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_labels_of_whole_recordings(heard: Path) -> None:
    assert main(["predict", "model", "tapes", "--output", "labels.csv", "--device", "cpu"]) == 0
    table = load_manifest("labels.csv")
    assert [(clip.source, clip.label) for clip in table] == [
        (row["path"], row["label"]) for row in rows_in("labels.csv")
    ]


@pytest.mark.parametrize("rows", ["windows", "segments"])
def test_windows_and_segments_are_clips_at_their_place(heard: Path, rows: str) -> None:
    flags = ["--rows", rows, "--window_seconds", "0.5", "--output", "found.csv", "--device", "cpu"]
    assert main(["predict", "model", "tapes", *flags, *(["--threshold", "0.3"] if rows == "segments" else [])]) == 0
    expected = [(row["path"], float(row["start_s"]), float(row["end_s"]), row["label"]) for row in rows_in("found.csv")]
    assert expected
    clips = load_manifest("found.csv")
    for clip, (path, start_s, end_s, label) in zip(clips, expected, strict=True):
        assert (clip.source, clip.label) == (path, label)
        assert (clip.offset_s, clip.duration_s) == (pytest.approx(start_s), pytest.approx(end_s - start_s))
    assert main(["inspect", "--train_file", "found.csv"]) == 0


@pytest.mark.parametrize("output", ["found.rttm", "found.jsonl", "labels", "selections"])
def test_results_in_other_formats_are_scored(heard: Path, output: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = {"labels": ["--format", "audacity"], "selections": ["--format", "raven"]}.get(output, [])
    flags = ["--rows", "windows", "--window_seconds", "0.5", "--output", output, *name, "--device", "cpu"]
    assert main(["predict", "model", "tapes", *flags]) == 0
    tables = sorted(map(str, Path(output).glob("*.txt"))) if name else [output]
    found = [clip for table in tables for clip in load_manifest(table)]
    assert sorted({Path(str(clip.path)).name for clip in found}) == ["0.wav", "1.wav"]
    assert len(found) == 8
    assert {(clip.offset_s, clip.duration_s) for clip in found} == {(k / 2, 0.5) for k in range(4)}
    words = [word for table in tables for word in ("--test_file", table)]
    assert main(["evaluate", "model", *words, "--split", "test", "--device", "cpu", "--output_dir", "figures"]) == 0
    assert "accuracy 1.0000 on 8 clips" in capsys.readouterr().out
