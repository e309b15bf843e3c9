"""Recordings to make waveform stores of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.clips.clip import Clip, ClipTable
from tests.tiny import RATE_HZ, tone


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> ClipTable:
    """500 recordings of 10 to 30 ms, two of which cannot be used."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    clips = []
    for i in range(500):
        path = folder / f"{i}.wav"
        soundfile.write(path, tone(300, rng.uniform(0.01, 0.03), seed=i), RATE_HZ if i % 3 else 8000)
        clips.append(Clip(source=path.name, path=str(path), label=str(i % 2)))
    (folder / "7.wav").write_bytes(b"")
    (folder / "270.wav").unlink()
    return ClipTable(clips, "data")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "stores"
