"""Copies are found, likenesses are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from earmark.audit import duplicates
from earmark.audit.duplicates import Duplicates, correlation, find_duplicates
from earmark.audit.measure import measure
from earmark.clips.clip import Clip, ClipTable
from tests.tiny import RATE_HZ


def chirp(seed: int, seconds: float = 1.0) -> np.ndarray:
    """A tone that wanders, in noise: another one for each seed."""
    rng = np.random.default_rng(seed)
    count = round(seconds * RATE_HZ)
    pitch_hz = np.interp(np.linspace(0, 1, count), np.linspace(0, 1, 8), rng.uniform(200, 3500, 8))
    loudness = np.interp(np.linspace(0, 1, count), np.linspace(0, 1, 8), rng.uniform(0.05, 0.6, 8))
    return loudness * np.sin(2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ) + rng.normal(0, 0.005, count)


@pytest.fixture
def table(tmp_path: Path) -> ClipTable:
    files = {f"{seed}.wav": (chirp(seed), RATE_HZ) for seed in range(6)}
    files["same.flac"] = files["0.wav"]
    files["softer.mp3"] = (0.4 * chirp(1), RATE_HZ)
    files["telephone.wav"] = (soxr.resample(chirp(2), RATE_HZ, 8000), 8000)
    files["silence.wav"] = files["silence_again.wav"] = (np.zeros(RATE_HZ), RATE_HZ)
    for name, (samples, rate_hz) in files.items():
        # libsndfile scales floats by other factors for WAV than for FLAC
        soundfile.write(tmp_path / name, np.rint(samples * 32767).astype(np.int16), rate_hz)
    return ClipTable([Clip(name, "a", str(tmp_path / name)) for name in files], "here")


def found_in(table: ClipTable) -> tuple[list[list[str]], list[tuple[str, str]], Duplicates]:
    measures = measure(table, num_workers=2, progress=lambda done: None)
    found = find_duplicates(table, measures, num_workers=2, progress=lambda done, total: None)
    exact = [[table[row].source for row in rows] for rows in found.exact]
    return exact, [(table[i].source, table[j].source) for i, j, _ in found.near], found


def test_copies_are_found_and_nothing_else(table: ClipTable) -> None:
    exact, near, found = found_in(table)
    assert exact == [["0.wav", "same.flac"]], "digital silence is no copy of digital silence"
    assert near == [("1.wav", "softer.mp3"), ("2.wav", "telephone.wav")]
    assert not found.left_out


def test_blocks_of_the_search_do_not_matter(table: ClipTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_BLOCK", 2)
    assert found_in(table)[1] == [("1.wav", "softer.mp3"), ("2.wav", "telephone.wav")]


def test_what_is_left_out_is_said(table: ClipTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "MOST_HEARD", 1)
    assert "only the 1 most similar of 2 pairs of clips were compared" in found_in(table)[2].left_out
    monkeypatch.setattr(duplicates, "MOST_COMPARED", 3)
    exact, near, found = found_in(table)
    assert (exact, near) == ([["0.wav", "same.flac"]], [])
    assert "near duplicates were not searched" in found.left_out


def test_correlation_is_over_all_shifts() -> None:
    first = chirp(0)
    assert correlation(first, np.concatenate([np.zeros(700), 0.2 * first[:-700]])) > 0.95
    assert correlation(first, chirp(1)) < 0.5
    assert correlation(first, np.zeros(100)) == 0
