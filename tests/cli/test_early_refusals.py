"""Mistakes of training and searching that are reported without importing torch, which takes seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from earmark.runs.folder_lock import locked_folder
from tests.tiny import write_tones

_RUN = """
import contextlib, io, json, sys
from earmark.cli.main import main
said = []
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(io.StringIO()) as stream:
        code = main(words)
    said.append([code, stream.getvalue().splitlines()[-1]])
print(json.dumps([said, sorted({"torch", "transformers", "sklearn", "scipy.stats"} & set(sys.modules))]))
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with ``sounds``, an ``empty`` folder and a ``run``."""
    write_tones(tmp_path / "sounds", per_class=2, seconds=0.2)
    (tmp_path / "empty").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run_config.yaml").write_text("seed: 1\n")
    return tmp_path


def errors_without_torch(script: str, calls: list[Any], place: Path) -> list[Any]:
    """The errors of calls in a new process, which imports no heavy library and writes no run."""
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(calls)], capture_output=True, text=True, check=True, cwd=place
    )
    errors, imported = json.loads(done.stdout)
    assert imported == []
    assert not (place / "new").exists()
    return errors


def test_mistakes_are_found_without_torch(place: Path) -> None:
    (place / "list.csv").write_text("path,label\nsounds/train/low/9.wav,\n")
    low = "sounds/train/low"
    net, out = ["--model_type", "tc_resnet"], ["--output_dir", "new"]
    mistakes = [
        (["train", "--data_dir", "empty", *net, *out], "empty: no class folders with recordings in them"),
        (["train", "--data_dir", low, *net, *out], f"{low}: 2 recordings but no class folders"),
        (["train", "--train_file", "list.csv", *net, *out], "list.csv"),
        (["train", "--data_dir", "sounds", "--model_type", "tc_resnett", *out], "tc_resnett: expected one of"),
        (["train", "--data_dir", "sounds", "--model_type", "bert", *out], "--model_type bert: expected one of"),
        (["train", "--data_dir", "sounds", *net, "--output_dir", "busy"], "busy: process"),
        (["train", "--data_dir", "sounds", *net, "--output_dir", "run"], "run: "),
        (["train", "--data_dir", "sounds", *net, *out, "--task", "regression", "--focal_gamma", "2"], "--focal_gamma"),
        (["train", "--data_dir", "sounds", "--model_name_or_path", "./none", *out], "./none: no such folder"),
        (["train", "--data_dir", "empty", *net, *out, "--folds", "2"], "empty: no class folders"),
        (["search", "--data_dir", "empty", *net, *out, "--search_space", "seed=1|2"], "empty: no class folders"),
    ]
    with locked_folder(place / "busy"):
        errors = errors_without_torch(_RUN, [words for words, _ in mistakes], place)
    for (words, expected), (code, line) in zip(mistakes, errors, strict=True):
        assert code == 2, (words, line)
        assert expected in line, words


def test_a_name_on_the_hub_is_looked_up_without_torch(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    ((code, line),) = errors_without_torch(_RUN, [["predict", "org/tiny", "sounds"]], place)
    assert code == 2
    assert "org/tiny: not a folder here and not in the hub's cache, and offline mode is on." in line


_CALLS = """
import json, sys
import earmark
said = []
for name, data, values in json.loads(sys.argv[1]):
    try:
        getattr(earmark, name)(data, **values)
    except earmark.EarmarkError as exc:
        said.append(str(exc))
print(json.dumps([said, sorted({"torch", "transformers", "sklearn", "scipy.stats"} & set(sys.modules))]))
"""


def test_mistakes_in_python_are_found_without_torch(place: Path) -> None:
    net = {"model": "tc_resnet", "output_dir": "new"}
    mistakes = [
        ("train", "sounds", {**net, "lerning_rate": 1}, "did you mean --learning_rate?"),
        (
            "train",
            "sounds",
            {**net, "model": "tc_resnett"},
            "nor a model type; did you mean tc_resnet?",
        ),
        ("train", "sounds", {**net, "task": "regression", "focal_gamma": 2}, "--focal_gamma"),
        ("train", "sounds", {**net, "metric_for_best_model": "acuracy"}, "acuracy"),
        ("train", "sounds", {**net, "output_dir": "run"}, "run: "),
        ("train", "empty", net, "empty: no class folders"),
        ("train", "empty", {**net, "folds": 2}, "empty: no class folders"),
        ("search", "empty", {**net, "search_space": "seed=1|2"}, "empty: no class folders"),
    ]
    errors = errors_without_torch(_CALLS, [mistake[:3] for mistake in mistakes], place)
    for (*_, expected), line in zip(mistakes, errors, strict=True):
        assert expected in line
