"""Levels, faults and shapes of generated recordings with known ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from earmark.audit.measure import Measures, band_levels, clip_shape, measure
from earmark.clips.clip import Clip, ClipTable
from tests.audit.test_duplicates import chirp
from tests.tiny import RATE_HZ


def measured(folder: Path, recordings: dict[str, np.ndarray], rate_hz: int = RATE_HZ) -> Measures:
    clips = []
    for name, samples in recordings.items():
        # libsndfile scales floats by other factors for WAV than for FLAC
        soundfile.write(folder / name, np.rint(samples * 32767).astype(np.int16), rate_hz)
        clips.append(Clip(source=name, label="a", path=str(folder / name)))
    return measure(ClipTable(clips, "here"), num_workers=2, progress=lambda done: None)


def test_levels_and_faults(tmp_path: Path) -> None:
    sine = np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ)
    found = measured(
        tmp_path,
        {
            "half.wav": 0.5 * sine,
            "cut.wav": np.clip(1.5 * sine, -0.9, 0.9),
            "off.wav": 0.3 * sine + 0.1,
            "none.wav": np.zeros(800),
            "stereo.wav": np.stack([0.5 * sine, -0.5 * sine], axis=1),
        },
    )
    np.testing.assert_allclose(found.duration_s, [1, 1, 1, 0.05, 1])
    np.testing.assert_allclose(found.peak, [0.5, 0.9, 0.4, 0, 0.5], atol=1e-3)
    np.testing.assert_allclose(found.rms[[0, 3]], [0.5 / np.sqrt(2), 0], atol=1e-3)
    np.testing.assert_allclose(found.dc_offset, [0, 0, 0.1, 0, 0], atol=1e-3)
    beyond = np.mean(np.abs(1.5 * sine) > 0.9)
    np.testing.assert_allclose(found.clipped, [0, beyond, 0, 0, 0], atol=0.02)
    assert found.channels.tolist() == [1, 1, 1, 1, 2]
    np.testing.assert_allclose(found.left, [1, 1, 1, 1, 0], atol=1e-6)
    assert found.rate_hz.tolist() == [RATE_HZ] * 5


def test_samples_of_any_size_have_a_digest_of_their_own(tmp_path: Path) -> None:
    places = []
    for i, scale in enumerate((1e6, 1e6, 2e9)):
        soundfile.write(tmp_path / f"{i}.wav", scale * chirp(min(i, 1)), RATE_HZ, subtype="FLOAT")
        places.append(Clip(f"{i}.wav", "a", str(tmp_path / f"{i}.wav")))
    found = measure(ClipTable(places, "here"), num_workers=1, progress=lambda done: None)
    assert len(set(found.content.tolist())) == 3
    assert found.readable.all()


def test_a_clip_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    table = ClipTable([Clip("text.wav", "a", str(tmp_path / "text.wav")), Clip("gone.wav", "a", "gone.wav")], "here")
    found = measure(table, num_workers=1, progress=lambda done: None)
    assert [clip.source for clip in found.bad] == ["text.wav", "gone.wav"]
    assert not found.readable.any()


def test_digests_tell_recordings_not_files_apart(tmp_path: Path) -> None:
    wave = chirp(0)
    found = measured(tmp_path, {"a.wav": wave, "b.flac": wave, "c.wav": wave[::-1]})
    assert found.content[0] == found.content[1]
    assert found.content[0] != found.content[2]


@pytest.mark.parametrize("block", [1000, 1 << 20])
def test_blocks_do_not_matter(tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wave = np.clip(chirp(0), -0.3, 0.3)
    whole = measured(tmp_path, {"a.wav": wave})
    monkeypatch.setattr("earmark.audio.samples.BLOCK", block)
    parts = measured(tmp_path, {"a.wav": wave})
    assert parts.content[0] == whole.content[0]
    np.testing.assert_allclose(parts.rms, whole.rms, rtol=1e-5)
    np.testing.assert_allclose(parts.clipped, whole.clipped, atol=0.01)
    assert whole.clipped[0] > 0.1
    np.testing.assert_allclose(parts.dc_offset, whole.dc_offset, atol=1e-9)
    assert float(parts.shape[0] @ whole.shape[0]) > 0.9


def test_shapes_survive_what_copies_go_through_and_tell_sounds_apart() -> None:
    rng = np.random.default_rng(0)
    sweep = np.sin(2 * np.pi * np.cumsum(np.linspace(200, 3000, RATE_HZ)) / RATE_HZ) * np.linspace(0.1, 1, RATE_HZ)
    wave = (sweep + 0.01 * rng.normal(size=RATE_HZ)).astype(np.float32)
    shape = clip_shape(band_levels(wave, RATE_HZ))
    assert np.linalg.norm(shape) == pytest.approx(1)
    for copy, rate_hz in ((0.1 * wave, RATE_HZ), (soxr.resample(wave, RATE_HZ, 8000), 8000)):
        assert shape @ clip_shape(band_levels(copy.astype(np.float32), rate_hz)) > 0.97
    assert shape @ clip_shape(band_levels(wave[::-1].copy(), RATE_HZ)) < 0.5
    assert not clip_shape(band_levels(np.zeros(100, np.float32), RATE_HZ)).any()
