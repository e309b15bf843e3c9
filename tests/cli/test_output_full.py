"""Standard output that cannot be written: one line and exit code 2; a reader that has gone is no error."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from earmark.cli.main import main
from tests.tiny import RATE_HZ, save_model, tone

FULL = Path("/dev/full")
SRC = Path(__file__).parents[2] / "src"


@pytest.fixture(scope="module")
def predict(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("predict")
    soundfile.write(folder / "a.wav", tone(300, 0.6), RATE_HZ)
    return ["predict", str(save_model(folder / "model", 0.5)), str(folder / "a.wav"), "--device", "cpu"]


def check_full(code: int, shown: str) -> None:
    lines = shown.splitlines()
    assert code == 2
    assert lines[-1].startswith("earmark: error: standard output: cannot be written (No space left")
    assert not [line for line in lines if "Traceback" in line or "defect" in line or "Exception ignored" in line]


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", [["--help"], ["train", "--help"]])
def test_a_full_disk(words: list[str]) -> None:
    command = [sys.executable, "-m", "earmark", *words]
    with FULL.open("w") as full:
        env = {**os.environ, "PYTHONPATH": str(SRC)}
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=env, check=False)
    check_full(done.returncode, done.stderr)


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_full_disk_for_predictions(
    predict: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, which has torch imported already, as the test after it."""
    full = FULL.open("w")
    monkeypatch.setattr(sys, "stdout", full)
    code = main(predict)
    with contextlib.suppress(OSError):
        full.close()
    check_full(code, capsys.readouterr().err)


def test_a_reader_that_has_gone(
    predict: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(predict) == 0
    assert not [line for line in capsys.readouterr().err.splitlines() if "error" in line or "Exception ignored" in line]
