"""The script that sends broken recordings and requests, on a few of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"


@pytest.mark.slow
def test_nothing_broken_brings_the_server_down(model: Path, tmp_path: Path) -> None:
    figures = tmp_path / "fuzz.json"
    words = [sys.executable, str(SCRIPT), str(model), "--cases", "250", "--json", str(figures)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    answers = json.loads(figures.read_text())["answers"]
    assert sum(answers.values()) == 250
    assert {"recording 200", "recording 422", "path 415", "slow 408"} <= answers.keys()
