"""The three lines of the README: train, label new recordings, train on old and new clips together."""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from earmark.cli.main import main
from tests.label.conftest import TOKEN, Start
from tests.tiny import RATE_HZ, tone

README = Path(__file__).parents[2] / "README.md"
HZ = {"low": 250.0, "mid": 900.0, "high": 3200.0}


def lines_of_the_loop() -> list[list[str]]:
    """The words of the block of the README with `earmark label` in it."""
    blocks = re.findall(r"```bash\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    [block] = [block for block in blocks if "earmark label" in block]
    return [shlex.split(line) for line in block.replace("\\\n", " ").splitlines()]


def recordings(folder: Path, label: str, count: int, first_seed: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for seed in range(first_seed, first_seed + count):
        hz = HZ[label] * np.random.default_rng(seed).uniform(0.9, 1.1)
        paths.append(folder / f"{label}_{seed}.wav")
        soundfile.write(paths[-1], tone(hz, 0.5, seed=seed), RATE_HZ)
    return paths


def test_the_three_lines_of_the_readme_keep_what_was_known(
    base: Path, tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    first, labelling, second = lines_of_the_loop()
    assert labelling == ["earmark", "label", "new_recordings", "--model", "runs/few"]
    for i, label in enumerate(("low", "high")):
        recordings(tmp_path / "recordings" / label, label, 8, 100 * i)
    recordings(tmp_path / "new_recordings", "low", 4, 300)
    recordings(tmp_path / "new_recordings", "mid", 6, 400)

    def train(words: list[str]) -> int:
        named = [str(base) if word == "openai/whisper-tiny" else word for word in words[1:]]
        return main([*named, "--device", "cpu", "--precision", "fp32", "--report", "false"])

    assert train(first) == 0
    started = start(tmp_path / "new_recordings", model_name_or_path="runs/few", output_dir=str(tmp_path / "labels"))
    with httpx.Client(base_url=started.url, headers={"X-Earmark-Token": TOKEN}) as client:
        for at in range(10):
            name = Path(client.get(f"/clips/{at}").json()["path"]).name.split("_")[0]
            body = {"was": None, "now": ["label", name]}
            assert client.post(f"/clips/{at}/decide", json=body).status_code == 200
        shown = client.get("/state").json()["train_command"]
    labels = started.folder / "labels.csv"
    words = shlex.split(shown)
    assert words[:6] == ["earmark", "train", "--data_dir", "recordings", "--train_file", str(labels)]
    assert words[6:8] == ["--model_name_or_path", str(base)]
    assert "--few_shot" in words
    assert words[-2:] == ["--output_dir", "runs/few-2"]
    (tmp_path / "labels").mkdir()
    labels.rename(tmp_path / "labels" / "labels.csv")  # the folder beside it, so relative paths still hold
    capsys.readouterr()
    assert train(second) == 0

    log = capsys.readouterr().err
    assert "sources combined: recordings (16 training clips; 2 classes), labels/labels.csv (10 training clips" in log
    assert json.loads(Path("runs/few/labels.json").read_text()) == ["high", "low"]
    assert json.loads(Path("runs/second/labels.json").read_text()) == ["high", "low", "mid"]
    with open("runs/second/splits.csv", newline="") as stream:
        rows = [(row["split"], Path(row["clip"]).name.split("_")[0]) for row in csv.DictReader(stream)]
    assert {label for split, label in rows if split == "train"} == {*HZ}
    assert Counter(label for _, label in rows) == {"low": 12, "mid": 6, "high": 8}  # no clip of high was labelled
