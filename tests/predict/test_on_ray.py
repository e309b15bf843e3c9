"""The job on two workers of a real, local Ray: the same file, also when a worker dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile

from earmark.cli.main import main
from earmark.models.build_model import ModelSource, build_for_training
from tests.tiny import RATE_HZ, overrides, tone

pytest.importorskip("ray.data")
pytestmark = pytest.mark.slow
SRC = Path(__file__).parents[2] / "src"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    source = ModelSource(model_type="wav2vec2", config_overrides=overrides("wav2vec2"))
    build_for_training(source, ["high", "low", "mid"], 0.5, longest_s=0.5).save(folder)
    return folder


def start(model: Path, tapes: Path, output: Path) -> subprocess.Popen[str]:
    words = [str(model), str(tapes), "--device", "cpu", "--rows", "windows", "--hop_seconds", "0.25", "--top_k", "3"]
    words += ["--engine", "ray", "--ray_workers", "2", "--output", str(output)]
    return subprocess.Popen(
        [sys.executable, "-m", "earmark", "predict", *words],
        env={**os.environ, "PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


def workers_of(pid: int) -> list[int]:
    """Processes under ``pid`` that label recordings."""
    children: dict[int, list[int]] = {}
    titles = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
                titles[int(entry.name)] = (entry / "cmdline").read_text()
            except OSError:
                continue
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    below, found = [pid], []
    while below:
        below += (under := children.get(below.pop(), []))
        found += [one for one in under if titles[one].startswith("ray::") and "_Worker" in titles[one]]
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for workers in /proc")
def test_a_worker_that_dies_loses_nothing_and_duplicates_nothing(model: Path, tmp_path: Path) -> None:
    tapes = tmp_path / "tapes"
    tapes.mkdir()
    for i in range(96):
        soundfile.write(tapes / f"{i:03}.wav", tone(200 + 40 * i, 2.0 + 0.01 * i, seed=i), RATE_HZ)
    (tapes / "050.wav").write_bytes(b"RIFF broken")
    output = tmp_path / "ray.csv"
    with start(model, tapes, output) as process:
        killed = False
        while process.poll() is None:
            if not killed and Path(f"{output}.part.done").exists() and (found := workers_of(process.pid)):
                os.kill(found[0], signal.SIGKILL)
                killed = True
            time.sleep(0.05)
        said = process.stderr.read() if process.stderr else ""
    assert process.returncode == 0, said
    assert killed
    here = tmp_path / "here.csv"
    words = [str(model), str(tapes), "--device", "cpu", "--rows", "windows", "--hop_seconds", "0.25", "--top_k", "3"]
    assert main(["predict", *words, "--output", str(here)]) == 0
    assert output.read_text() == here.read_text()
    bad = Path(f"{output}.bad_audio.csv").read_text()
    assert bad == Path(f"{here}.bad_audio.csv").read_text()
    assert "050.wav" in bad
