"""The last frame of a FLAC file is found although bytes inside of it look like the header of another one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from earmark.audio.decode import duration_s, read_clip
from earmark.audio.incomplete import INCOMPLETE
from earmark.audio.layout_flac import _crc8, flac_layout, thorough_flac_layout
from earmark.clips.clip import Clip

RATE_HZ = 16_000
FRAMES = 4 * 4096 + 3000


def with_false_header(path: Path, number: int, *, block_code: int = 12, sync: int = 0xF8, at: int = 1000) -> np.ndarray:
    """Write noise, which FLAC stores as it is; samples in the last frame have the bytes of a frame header."""
    import soundfile

    head = bytes([0xFF, sync, block_code << 4 | 5, 0x08, number])
    head += bytes([_crc8(head)])
    samples = np.random.default_rng(0).integers(-32_768, 32_767, FRAMES).astype("<i2")
    place = 4 * 4096 + at
    samples[place : place + 3] = np.frombuffer(head, ">i2")
    soundfile.write(path, samples, RATE_HZ, format="FLAC", subtype="PCM_16")
    assert head in path.read_bytes()
    return samples / np.float32(32_768)


@pytest.mark.parametrize(("number", "block_code", "sync"), [(0, 12, 0xF8), (1, 12, 0xF8), (9, 12, 0xF8), (0, 2, 0xF9)])
@pytest.mark.parametrize("tail", [b"", b"TAG" + bytes(125)], ids=["", "tag"])
def test_bytes_like_a_header_are_no_frame(number: int, block_code: int, sync: int, tail: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    samples = with_false_header(path, number, block_code=block_code, sync=sync)
    path.write_bytes(path.read_bytes() + tail)
    INCOMPLETE.take()
    clip = Clip("a", path=str(path))
    assert duration_s(clip) == FRAMES / RATE_HZ
    np.testing.assert_array_equal(read_clip(clip, RATE_HZ), samples)
    window = Clip("a", path=str(path), offset_s=1.0, duration_s=0.1)
    np.testing.assert_array_equal(read_clip(window, RATE_HZ), samples[RATE_HZ : RATE_HZ + 1600])
    assert not INCOMPLETE.take()
    with path.open("rb", buffering=0) as file:
        size = path.stat().st_size
        assert not flac_layout(file, size, 0, path.read_bytes()[:4096]).suspicious
        assert thorough_flac_layout(file, size, 0).faults == ()


@pytest.mark.parametrize(("block_code", "sync"), [(13, 0xF8), (12, 0xF9)])
def test_an_incomplete_last_frame_with_a_header_inside_that_does_not_fit(
    block_code: int, sync: int, tmp_path: Path
) -> None:
    path = tmp_path / "a.flac"
    samples = with_false_header(path, 1, block_code=block_code, sync=sync)
    path.write_bytes(path.read_bytes()[:-500])
    INCOMPLETE.take()
    read = read_clip(Clip("a", path=str(path)), RATE_HZ)
    np.testing.assert_array_equal(read[: 4 * 4096], samples[: 4 * 4096])
    assert len(read) == 4 * 4096
    assert "are missing at the end" in "".join(INCOMPLETE.take().values())


def test_bytes_that_only_begin_like_a_header_cost_no_checksum_of_the_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """About one recording in 30 has them in its last frame, and the checksum is slow: it is computed in Python."""
    import soundfile

    path = tmp_path / "a.flac"
    samples = np.random.default_rng(0).integers(-32_768, 32_767, FRAMES).astype("<i2")
    for place in (500, 1500):
        samples[4 * 4096 + place : 4 * 4096 + place + 2] = np.frombuffer(b"\xff\xf8\0\0", ">i2")
    soundfile.write(path, samples, RATE_HZ, format="FLAC", subtype="PCM_16")
    assert path.read_bytes().count(b"\xff\xf8\0\0") == 2
    monkeypatch.setattr("earmark.audio.layout_flac._last_frame", lambda *given: pytest.fail("computed a checksum"))
    with path.open("rb", buffering=0) as file:
        assert not flac_layout(file, path.stat().st_size, 0, path.read_bytes()[:4096]).suspicious
    np.testing.assert_array_equal(read_clip(Clip("a", path=str(path)), RATE_HZ), samples / np.float32(32_768))


@pytest.mark.parametrize("frames", [500, 2000, 4000, 4090, 4100, 4500, 6000, 8000, 9000, 20_000])
def test_a_recording_joined_with_itself_is_read_twice(frames: int, tmp_path: Path) -> None:
    import soundfile

    samples = np.random.default_rng(0).integers(-32_768, 32_767, frames).astype("<i2")  # about two bytes each
    once, twice = tmp_path / "a.flac", tmp_path / "b.flac"
    soundfile.write(once, samples, RATE_HZ, subtype="PCM_16")
    twice.write_bytes(once.read_bytes() * 2)
    read = read_clip(Clip("b", path=str(twice)), RATE_HZ)
    np.testing.assert_array_equal(read, np.tile(samples / np.float32(32_768), 2))
