"""Standard output that cannot be written: one line and exit code 2; a reader that has gone is no error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from tests.tiny import RATE_HZ, save_model, tone

FULL = Path("/dev/full")
SRC = Path(__file__).parents[2] / "src"


@pytest.fixture(scope="module")
def predict(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("predict")
    soundfile.write(folder / "a.wav", tone(300, 0.6), RATE_HZ)
    return ["predict", str(save_model(folder / "model", 0.5)), str(folder / "a.wav"), "--device", "cpu"]


def run(words: list[str], stdout: int) -> tuple[int, list[str]]:
    env = {**os.environ, "PYTHONPATH": str(SRC)}
    command = [sys.executable, "-m", "earmark", *words]
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=env, check=False)
    return done.returncode, done.stderr.splitlines()


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", [None, ["--help"], ["train", "--help"]])
def test_a_full_disk(words: list[str] | None, predict: list[str]) -> None:
    with FULL.open("w") as full:
        code, lines = run(words or predict, full.fileno())
    assert code == 2
    assert lines[-1].startswith("earmark: error: standard output: cannot be written (No space left")
    assert not [line for line in lines if "Traceback" in line or "defect" in line or "Exception ignored" in line]


def test_a_reader_that_has_gone(predict: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        code, lines = run(predict, write)
    finally:
        os.close(write)
    assert code == 0
    assert not [line for line in lines if "error" in line or "Exception ignored" in line]
