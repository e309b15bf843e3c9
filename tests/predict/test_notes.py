"""What ``earmark predict`` says about names that change in a format, and about long recordings with one label."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
import soundfile

from earmark.cli.main import main
from tests.tiny import RATE_HZ, save_model, tone


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"), 0.5)


def predict(model: Path, *words: object) -> None:
    assert main(["predict", str(model), *map(str, words), "--device", "cpu"]) == 0


def test_rttm_names_that_are_not_paths_are_in_a_table(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b c.wav", "b_c.wav"):
        soundfile.write(name, tone(300, 0.6), RATE_HZ)
    output, names = Path("o.rttm"), Path("o.rttm.names.csv")
    predict(model, "b_c.wav", "--output", output, "--threshold", "0.01")
    assert not names.exists()
    predict(model, "b c.wav", "b_c.wav", "--output", output, "--overwrite", "--threshold", "0.01")
    with names.open(newline="") as stream:
        paths = {row["name"]: row["path"] for row in csv.DictReader(stream)}
    assert sorted(paths.values()) == ["b c.wav", "b_c.wav"]
    assert {line.split()[1] for line in output.read_text().splitlines()} == set(paths)
    assert f"{names} lists the recordings whose names" in capsys.readouterr().err
    predict(model, "b c.wav", "--format", "rttm", "--threshold", "0.01")
    assert "names in the results differ from the paths for 1 recording." in capsys.readouterr().err
    predict(model, "b_c.wav", "--output", output, "--overwrite", "--threshold", "0.01")
    assert not names.exists()  # of the output that was replaced


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_names_that_are_not_utf8_are_warned_about_unless_escaped(
    suffix: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = os.fsdecode(b"caf\xe9.wav")
    soundfile.write(tmp_path / "a.wav", tone(300, 0.6), RATE_HZ)
    (tmp_path / "a.wav").rename(tmp_path / name)
    predict(model, tmp_path, "--output", tmp_path / f"o{suffix}")
    warned = (
        "the paths of 1 recording are not UTF-8, so most programs cannot read the results" in capsys.readouterr().err
    )
    assert warned == (suffix == ".csv")
    if not warned:
        (tmp_path / f"o{suffix}").read_text(encoding="utf-8")


def test_one_label_for_a_long_recording_is_noted(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "1 recording is longer than 4 times the model's window of 0.5 s, and each recording gets one label"
    long, short = tmp_path / "long.wav", tmp_path / "short.wav"
    soundfile.write(long, tone(300, 2.2), RATE_HZ)
    soundfile.write(short, tone(300, 1.9), RATE_HZ)
    predict(model, long, short)
    assert f"note: {said}. Add --hop_seconds 0.25 to get one label per window" in capsys.readouterr().err
    for words in ([short], [long, "--aggregate", "max"], [long, "--rows", "clips"], [long, "--hop_seconds", "0.25"]):
        predict(model, *words)
        assert "longer than" not in capsys.readouterr().err, words
