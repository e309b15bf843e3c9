"""Every way into earmark sets the environment of the CPU threads before torch is imported.

A module named torch stands before the real one. It writes down what it finds in the environment, and ends the process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from earmark.threads.cores import this_process

ROOT = Path(__file__).parents[2]
TORCH = """
import json, os
with open(os.environ["SEEN"], "a") as file:
    print(json.dumps({name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "KMP_BLOCKTIME")}), file=file)
os._exit(7)
"""
CONSOLE = ["-c", "import sys; from earmark.cli.main import main; sys.exit(main())"]
TRAIN = ["--data_dir", "clips", "--model_type", "tc_resnet", "--output_dir", "run"]
ENTRANCES = {
    "python -m earmark": ["-m", "earmark", "train", *TRAIN],
    "console script": [*CONSOLE, "train", *TRAIN],
    "run_audio_classification.py": [str(ROOT / "run_audio_classification.py"), *TRAIN, "--do_train"],
    "rank of the example": ["-m", "earmark.cli.example", *TRAIN, "--do_train"],
    "launcher": ["-m", "earmark", "train", *TRAIN, "--num_processes", "2"],
    "search": ["-m", "earmark", "search", *TRAIN],
    "evaluate": ["-m", "earmark", "evaluate", "model", "--data_dir", "clips"],
    "predict": ["-m", "earmark", "predict", "model", "clips", "--output", "labels.csv"],
    "embed": ["-m", "earmark", "embed", "model", "clips", "--output", "vectors.npy"],
    "export": ["-m", "earmark", "export", "model", "--output", "exported"],
    "serve": ["-m", "earmark", "serve", "model", "--port", "0"],
    "label": ["-m", "earmark", "label", "clips", "--model", "model"],
    "bench": ["-m", "earmark", "bench", "infer", "--model_type", "tc_resnet"],
    "doctor": ["-m", "earmark", "doctor", "--device", "cpu"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("entrances")
    (folder / "stub/torch").mkdir(parents=True)
    (folder / "stub/torch/__init__.py").write_text(TORCH)
    for name in ("a/1", "a/2", "b/1", "b/2"):
        path = folder / f"clips/{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(path, np.zeros(1600, dtype=np.float32), 16_000)
    (folder / "model").mkdir()
    (folder / "model/config.json").write_text(json.dumps({"model_type": "tc_resnet"}))
    (folder / "model/model.safetensors").touch()  # only its presence is checked before torch is imported
    return folder


def seen_by_torch(words: list[str], folder: Path, name: str, **more: str) -> list[dict[str, str | None]]:
    """Variables at each import of torch in the processes of a command."""
    seen = folder / f"{name.replace(' ', '_').replace('/', '_')}.jsonl"
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "VIRTUAL_ENV") if key in os.environ}
    paths = os.pathsep.join([str(folder / "stub"), str(ROOT / "src")])
    environment = {**kept, "PYTHONPATH": paths, "SEEN": str(seen), "HF_HUB_OFFLINE": "1", **more}
    subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, check=False)
    assert seen.exists(), "torch was not imported"
    return [json.loads(line) for line in seen.read_text().splitlines()]


# these share their way to torch with "predict"
LIKE_OTHERS = ("search", "evaluate", "embed", "export", "label", "bench", "doctor")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LIKE_OTHERS else ()) for name in ENTRANCES]
)
def test_variables_are_set_before_torch(name: str, folder: Path) -> None:
    expected = {"OMP_NUM_THREADS": str(this_process().threads()), "KMP_BLOCKTIME": "1"}
    for seen in seen_by_torch(ENTRANCES[name], folder, name):
        assert seen == expected


def test_a_rank_of_torchrun(folder: Path) -> None:
    # torchrun gives a rank one thread; whoever started this one has set nothing
    command = ["-m", "earmark", "train", *TRAIN]
    lines = ["import os, subprocess, sys", "os.environ['OMP_NUM_THREADS'] = '1'"]
    parent = "; ".join([*lines, f"subprocess.run([sys.executable, *{command!r}])"])
    rank = {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "1", "WORLD_SIZE": "1", "RANK": "0"}
    [seen] = seen_by_torch(["-c", parent], folder, "torchrun", **rank)
    assert seen["OMP_NUM_THREADS"] == str(this_process().threads())


def test_settings_of_the_user_reach_torch(folder: Path) -> None:
    mine = {"OMP_NUM_THREADS": "3", "KMP_BLOCKTIME": "50"}
    [seen] = seen_by_torch(ENTRANCES["predict"], folder, "user", **mine)
    assert seen == mine


def test_off(folder: Path) -> None:
    [seen] = seen_by_torch(ENTRANCES["predict"], folder, "off", EARMARK_THREADS="off")
    assert seen == {"OMP_NUM_THREADS": None, "KMP_BLOCKTIME": None}
