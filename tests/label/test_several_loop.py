"""The three lines of docs/label.md for several labels: train, label new recordings, train on old and new ones."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from earmark.cli.main import main
from tests.label.conftest import TOKEN, Start
from tests.label.test_loop import HZ
from tests.tiny import RATE_HZ, tone

PAGE = Path(__file__).parents[2] / "docs" / "label.md"


def lines_of_the_loop() -> list[list[str]]:
    """The words of the block of the page with `earmark label` and `--task multi_label` in it."""
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    [block] = [block for block in blocks if "earmark label" in block and "multi_label" in block]
    return [shlex.split(line) for line in block.splitlines()]


def record(folder: Path, names: tuple[str, ...], seed: int) -> Path:
    """A recording in which these tones sound; its file is named after them."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{'+'.join(names) or 'none'}_{seed}.wav"
    waves = [tone(HZ[name], 0.5, seed=seed + i) for i, name in enumerate(names)]
    hiss = 0.01 * np.random.default_rng(seed).standard_normal(RATE_HZ // 2)
    soundfile.write(path, (sum(waves) + hiss) / 3, RATE_HZ)
    return path


def names_of(path: Path) -> list[str]:
    name = path.name.split("_")[0]
    return [] if name == "none" else sorted(name.split("+"))


def write_table(path: Path, recordings: list[Path]) -> None:
    with path.open("w", newline="") as stream:
        rows = [[str(one.relative_to(path.parent)), ",".join(names_of(one))] for one in recordings]
        csv.writer(stream).writerows([["path", "label"], *rows])


def contents(run: str) -> dict[str, set[str]]:
    """Of each split what its clips are called."""
    found: dict[str, set[str]] = {}
    with (Path(run) / "splits.csv").open() as stream:
        for row in csv.DictReader(stream):
            found.setdefault(row["split"], set()).add(Path(row["clip"]).name)
    return found


def test_the_three_lines_of_the_page_train_on_old_and_new_labels(
    base: Path,
    tmp_path: Path,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    first, labelling, second = lines_of_the_loop()
    assert labelling == ["earmark", "label", "new_recordings", "--model", "runs/few"]
    old: list[tuple[str, ...]] = [("low",), ("high",), ("low", "high"), ()]
    new: list[tuple[str, ...]] = [("mid",), ("low", "mid"), ()]
    known = [record(tmp_path / "recordings", names, 10 * i + k) for i, names in enumerate(old) for k in range(3)]
    fresh = [
        record(tmp_path / "new_recordings", names, 100 + 10 * i + k) for i, names in enumerate(new) for k in (0, 1)
    ]
    held_out = [record(tmp_path / "new_recordings", names, 200 + i) for i, names in enumerate(old[:3])]
    write_table(tmp_path / "train.csv", known)
    write_table(tmp_path / "eval.csv", held_out)

    def train(words: list[str]) -> int:
        named = [str(base) if word == "openai/whisper-tiny" else word for word in words[1:]]
        return main([*named, "--device", "cpu", "--report", "false"])

    assert train(first) == 0
    started = start(tmp_path / "new_recordings", model_name_or_path="runs/few", output_dir=str(tmp_path / "labels"))
    with httpx.Client(base_url=started.url, headers={"X-Earmark-Token": TOKEN}) as client:
        state = client.get("/state").json()
        assert state["several"] is True
        for at in range(len(fresh) + len(held_out)):
            names = names_of(Path(client.get(f"/clips/{at}").json()["path"]))
            body = {"was": None, "now": ["labels", names]}
            assert client.post(f"/clips/{at}/decide", json=body).status_code == 200
        assert client.get("/state").json()["next"] is None
    shown = shlex.split(state["train_command"])
    assert shown[:4] == ["earmark", "train", "--task", "multi_label"]
    (tmp_path / "labels").mkdir()
    (started.folder / "labels.csv").rename(tmp_path / "labels" / "labels.csv")
    for words in (second, [word.replace(str(started.folder), "labels") for word in shown]):
        capsys.readouterr()
        assert train(words) == 0
        assert "sources combined: train.csv (12 training clips" in capsys.readouterr().err
        run = words[words.index("--output_dir") + 1]
        assert json.loads((Path(run) / "labels.json").read_text()) == ["high", "low", "mid"]
        splits = contents(run)
        assert splits["train"] == {path.name for path in [*known, *fresh]}
        assert splits["validation"] == {path.name for path in held_out}  # labelled here, too, and yet not trained on
    with (tmp_path / "labels" / "labels.csv").open() as stream:
        cells = {Path(row["path"]).name: row["label"] for row in csv.DictReader(stream)}
    assert cells == {path.name: ",".join(names_of(path)) for path in [*fresh, *held_out]}
