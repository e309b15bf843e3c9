"""Clips decoded each time: the samples of the recordings, in order, and a recording that changed is told of."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.audio.decode import read_clip
from earmark.clips.clip import Clip, ClipTable
from earmark.errors import AudioError
from earmark.store.decoding import DecodedWaveforms
from tests.tiny import RATE_HZ, tone

SECONDS = (0.3, 0.05, 0.2, 0.1)


@pytest.fixture
def table(tmp_path: Path) -> ClipTable:
    """Recordings of different length, rate and number of channels, and a cut of one."""
    clips = []
    for i, seconds in enumerate(SECONDS):
        rate_hz = 8000 if i == 2 else RATE_HZ
        wave = tone(200 + 50 * i, seconds, seed=i, rate_hz=rate_hz)
        soundfile.write(tmp_path / f"{i}.wav", np.stack([wave, wave / 2], axis=1) if i == 3 else wave, rate_hz)
        clips.append(Clip(source=f"clip {i}", path=str(tmp_path / f"{i}.wav")))
    clips.append(Clip(source="cut", path=str(tmp_path / "0.wav"), offset_s=0.1, duration_s=0.05))
    return ClipTable(clips, "data")


@pytest.fixture
def waveforms(table: ClipTable) -> DecodedWaveforms:
    num_samples = np.array([len(read_clip(clip, RATE_HZ)) for clip in table])
    return DecodedWaveforms(table, num_samples, RATE_HZ, num_threads=2)


def test_whole_clips_in_the_order_asked_for(waveforms: DecodedWaveforms, table: ClipTable) -> None:
    assert waveforms.num_samples.tolist() == [4800, 800, 3200, 1600, 800]
    rows = [4, 1, 1, 0, 3, 2] * 20  # more than are decoded ahead
    for samples, row in zip(waveforms.iterate(rows), rows, strict=True):
        assert samples.dtype == np.float32
        np.testing.assert_array_equal(samples, read_clip(table[row], RATE_HZ))
    assert list(waveforms.iterate([])) == []


def test_batches(waveforms: DecodedWaveforms, table: ClipTable) -> None:
    rows, starts, counts = [2, 0, 2, 4], np.array([0, 700, 10, 799]), np.array([3200, 4000, 0, 1])
    batch = waveforms.read_batch(rows, starts, counts, 4000)
    assert (batch.shape, batch.dtype) == ((4, 4000), np.float32)
    assert waveforms.scales.tolist() == [1.0] * 5
    for stretch, row, start, count in zip(batch, rows, starts, counts, strict=True):
        np.testing.assert_array_equal(stretch[:count], read_clip(table[row], RATE_HZ)[start : start + count])
        assert not stretch[count:].any()
    assert waveforms.read_batch([], np.zeros(0, np.int64), np.zeros(0, np.int64), 10).shape == (0, 10)


def test_worker_processes_get_a_copy(waveforms: DecodedWaveforms) -> None:
    list(waveforms.iterate([0]))
    copy = pickle.loads(pickle.dumps(waveforms))
    np.testing.assert_array_equal(next(copy.iterate([2])), next(waveforms.iterate([2])))


@pytest.mark.parametrize("seconds", [0.29, 0.31])
def test_a_recording_that_is_not_as_long_as_it_was(
    seconds: float, waveforms: DecodedWaveforms, table: ClipTable
) -> None:
    soundfile.write(str(table[0].path), tone(300, seconds), RATE_HZ)
    with pytest.raises(AudioError) as caught:
        waveforms.read_batch([1, 0], np.zeros(2, np.int64), np.array([10, 10]), 10)
    assert str(caught.value) == (
        f"clip 0: has {round(seconds * RATE_HZ):,} samples, but had 4,800 when first read. "
        "Do not change recordings during a run"
    )
    waveforms.read_batch([1, 2], np.zeros(2, np.int64), np.array([10, 10]), 10)  # the others are as they were


def test_a_recording_cut_short(waveforms: DecodedWaveforms, table: ClipTable) -> None:
    os.truncate(str(table[0].path), 2000)
    with pytest.raises(AudioError, match="clip 0: "):
        waveforms.read_batch([0], np.zeros(1, np.int64), np.array([100]), 100)
    with pytest.raises(AudioError, match="clip 0: "):
        list(waveforms.iterate([1, 0, 2]))


def test_a_recording_that_is_gone(waveforms: DecodedWaveforms, table: ClipTable) -> None:
    os.unlink(str(table[1].path))
    clips = waveforms.iterate([0, 1, 2])
    assert len(next(clips)) == 4800
    with pytest.raises(AudioError, match="clip 1: "):
        next(clips)
    with pytest.raises(AudioError, match="clip 1: "):
        waveforms.read_batch([2, 1], np.zeros(2, np.int64), np.array([10, 10]), 10)
