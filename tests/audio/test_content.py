"""The content of a clip: equal for equal recordings, whatever they are called and however they are stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.audio.content import NO_CONTENT, ContentHash, are_among, equal_content, hash_samples, is_sound
from earmark.audio.decode import clip_content, read_clip, read_clip_and_content
from earmark.audit.measure import measure
from earmark.clips.clip import Clip, ClipTable
from earmark.settings.data_flags import DataArguments
from earmark.store.usable import keep_usable
from tests.tiny import RATE_HZ, tone


def clip_of(path: Path, **cut: float) -> Clip:
    return Clip(path.name, "a", str(path), **cut)  # type: ignore[arg-type]


def write(path: Path, samples: np.ndarray, rate_hz: int = RATE_HZ, **how: str) -> Path:
    soundfile.write(path, samples, rate_hz, **how)
    return path


@pytest.fixture
def recordings(tmp_path: Path) -> dict[str, Path]:
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE_HZ).astype(np.float32)
    noise = soundfile.read(wav := write(tmp_path / "a.wav", noise), dtype="float32")[0]  # in steps of 16 bits
    return {
        "wav": wav,
        "flac": write(tmp_path / "renamed.flac", noise * 32768 / 32767),
        "float": write(tmp_path / "float.wav", noise, subtype="FLOAT"),
        "two equal channels": write(tmp_path / "stereo.wav", np.stack([noise, noise], axis=1), subtype="FLOAT"),
        "other": write(tmp_path / "other.wav", noise[::-1]),
        "other rate": write(tmp_path / "rate.wav", noise, 2 * RATE_HZ),
        "silence": write(tmp_path / "silence.wav", np.zeros(500)),
    }


def test_it_is_of_the_recording_not_of_the_file_or_the_rate_of_the_model(recordings):
    contents = {name: read_clip_and_content(clip_of(path), RATE_HZ)[1] for name, path in recordings.items()}
    assert contents["wav"] == contents["flac"] == contents["float"] == contents["two equal channels"]
    assert len(set(contents.values())) == 4
    assert contents["silence"] == 500
    assert is_sound(np.array(list(contents.values()), np.uint64)).tolist() == [True] * 6 + [False]
    for rate_hz in (8000, 16_000, 44_100):
        samples, content = read_clip_and_content(clip_of(recordings["wav"]), rate_hz)
        assert content == contents["wav"]
        np.testing.assert_array_equal(samples, read_clip(clip_of(recordings["wav"]), rate_hz))


def test_excerpts_of_one_recording_are_different_clips(recordings):
    path = recordings["wav"]
    cuts = [clip_of(path), *(clip_of(path, offset_s=start, duration_s=0.2) for start in (0.0, 0.2, 0.4))]
    contents = [read_clip_and_content(cut, RATE_HZ)[1] for cut in cuts]
    assert len(set(contents)) == 4
    samples, _ = soundfile.read(path, dtype="float32")
    assert contents[2] == hash_samples(samples[round(0.2 * RATE_HZ) : round(0.4 * RATE_HZ)], RATE_HZ)


@pytest.mark.parametrize("rate_hz", [RATE_HZ, 22_050])
def test_every_type_of_store_and_none_has_the_same(recordings, tmp_path, rate_hz):
    (tmp_path / "text.wav").write_text("no sound")
    table = ClipTable([*map(clip_of, recordings.values()), clip_of(tmp_path / "text.wav")], "here")
    wanted = [read_clip_and_content(clip_of(path), RATE_HZ)[1] for path in recordings.values()]
    for store in ("int16", "float16", "float32", "off"):
        options = DataArguments(store=store, store_dir=str(tmp_path / "store"), on_bad_audio="skip")  # type: ignore[arg-type]
        for _ in ("built", "found again"):
            usable, bad = keep_usable({"train": table}, rate_hz, options)
            assert usable["train"].contents.tolist() == wanted
            assert len(bad) == 1
        parts, _ = keep_usable({"test": ClipTable(table.clips[2:5], "here")}, rate_hz, options, whole=table)
        assert parts["test"].contents.tolist() == wanted[2:5]


def test_inspect_and_training_have_one_identity(recordings, tmp_path):
    opposite = write(tmp_path / "opposite.wav", np.outer(tone(300, 0.3), [1, -1]))
    table = ClipTable([clip_of(path) for path in (*recordings.values(), opposite)], "here")
    found = measure(table, num_workers=2, progress=lambda done: None)
    assert found.content.tolist() == [read_clip_and_content(clip, 8000)[1] for clip in table]
    assert found.content.tolist() == [clip_content(clip) for clip in table]


def test_blocks_and_the_sign_of_zero_do_not_matter():
    samples = tone(300, 0.3)
    in_parts = ContentHash()
    for part in np.array_split(samples, 7):
        in_parts.update(part)
    assert in_parts.value(RATE_HZ) == hash_samples(samples, RATE_HZ)
    assert hash_samples(np.array([0.5, -0.0], np.float32), 8000) == hash_samples(np.array([0.5, 0.0], np.float32), 8000)
    assert hash_samples(np.array([0.5, -1e-6], np.float32), 8000) == hash_samples(
        np.array([0.5, 1e-6], np.float32), 8000
    )


def test_silence_and_clips_that_cannot_be_read_are_copies_of_nothing():
    a, b = 1 << 40, 2**64 - 1
    contents = np.array([a, NO_CONTENT, b, a, 500, 500, NO_CONTENT, b, a], np.uint64)
    assert equal_content(contents) == [[0, 3, 8], [2, 7]]
    assert are_among(contents, contents[[0, 1, 4]]).tolist() == [True, False, False, True, *[False] * 4, True]
