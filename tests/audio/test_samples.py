"""One rule for the scale of samples and one for channels that cancel, whatever way samples come in."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.audio.decode import decode_bytes, read_clip, stream_at_own_rate, stream_clip, to_mono_at_rate
from earmark.audio.reading import read_in_order, stream_in_order
from earmark.audio.samples import CANCELLED, FULL_SCALE_LIMIT
from earmark.clips.clip import Clip, ClipTable
from earmark.errors import AudioError
from earmark.store.known_contents import read_contents
from earmark.store.store_build import open_or_build
from tests.tiny import RATE_HZ, tone

INVERTED = Path(__file__).resolve().parents[3] / "shared" / "cases" / "inverted.wav"
WAVE = tone(440, 0.5)
OPPOSITE = np.stack([np.float32(0.65) * WAVE, -WAVE], axis=1)  # the second channel is louder by 3.7 dB


def write(path: Path, samples: np.ndarray) -> Clip:
    soundfile.write(path, samples, RATE_HZ, subtype="FLOAT")
    return Clip(source=path.name, path=str(path))


def from_file(clip: Clip) -> np.ndarray:
    return read_clip(clip, RATE_HZ)


def from_blocks(clip: Clip) -> np.ndarray:
    return np.concatenate(list(stream_clip(clip, RATE_HZ)))


def from_bytes(clip: Clip) -> np.ndarray:
    return decode_bytes(Path(str(clip.path)).read_bytes(), RATE_HZ)


def from_array(clip: Clip) -> np.ndarray:
    samples, rate_hz = soundfile.read(str(clip.path), dtype="float32")
    return to_mono_at_rate(samples, rate_hz, RATE_HZ, "array")


def at_own_rate(clip: Clip) -> np.ndarray:
    return np.concatenate([block for block, _ in stream_at_own_rate(clip)])


def in_threads(clip: Clip) -> np.ndarray:
    ((_, samples),) = read_in_order([clip], RATE_HZ)
    assert isinstance(samples, np.ndarray)
    return samples


def streamed_in_threads(clip: Clip) -> np.ndarray:
    return np.concatenate([block for _, blocks in stream_in_order([clip], RATE_HZ) for block in blocks])


WAYS: list[Callable[[Clip], np.ndarray]] = [
    from_file,
    from_blocks,
    from_bytes,
    from_array,
    at_own_rate,
    in_threads,
    streamed_in_threads,
]


# -- scale


def mono(values: object, dtype: object = None) -> np.ndarray:
    return to_mono_at_rate(np.array(values, dtype), RATE_HZ, RATE_HZ, "mic")


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.uint32, np.uint16, np.int8])
def test_integers_without_a_known_scale_are_refused(dtype: type) -> None:
    with pytest.raises(AudioError, match=r"mic: samples of type u?int\d+ have no known full scale\. Convert 16-bit"):
        mono([0, 100, 50], dtype)


def test_16_bit_values_in_32_bits_are_refused() -> None:
    samples = np.round(32767 * WAVE).astype(np.int16)
    with pytest.raises(AudioError, match="int32 samples of at most 32768 would be silence"):
        mono(samples, np.int32)
    np.testing.assert_array_equal(mono(samples), samples / np.float32(32768))
    np.testing.assert_allclose(mono(np.round(WAVE * 2.0**31), np.int32), WAVE, atol=1e-6)
    assert not mono(np.zeros(9), np.int32).any()  # silence at any scale


@pytest.mark.parametrize("way", WAYS)
def test_floats_far_above_full_scale_are_refused(way: Callable[[Clip], np.ndarray], tmp_path: Path) -> None:
    clip = write(tmp_path / "ints.wav", np.round(32767 * WAVE))
    if way is at_own_rate:  # how `earmark inspect` measures them
        assert way(clip).max() > FULL_SCALE_LIMIT
        return
    if way is in_threads:
        ((_, found),) = read_in_order([clip], RATE_HZ)
        assert isinstance(found, AudioError)
        return
    with pytest.raises(AudioError, match=r"above 8 times full scale, the first at .* Scale floats to -1 to 1"):
        way(clip)


@pytest.mark.parametrize("way", WAYS)
def test_floats_a_little_above_full_scale_are_taken(way: Callable[[Clip], np.ndarray], tmp_path: Path) -> None:
    loud = (4 / np.abs(WAVE).max() * WAVE).astype(np.float32)
    np.testing.assert_array_equal(way(write(tmp_path / "loud.wav", loud)), loud)


# -- channels


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("block", [999, 1 << 20])
def test_channels_that_cancel_give_one_of_them(
    way: Callable[[Clip], np.ndarray], block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("earmark.audio.samples.BLOCK", block)
    clip = write(tmp_path / "a.wav", OPPOSITE)
    np.testing.assert_array_equal(way(clip), OPPOSITE[:, 1])
    about_as_loud = np.stack([np.float32(0.99) * WAVE, -WAVE], axis=1)
    np.testing.assert_array_equal(way(write(tmp_path / "b.wav", about_as_loud)), about_as_loud[:, 0])


def test_a_video_whose_channels_cancel(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("alac", rate=RATE_HZ, layout="stereo")  # lossless
        ints = np.round(32767 * WAVE).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.stack([ints, -ints]), format="s16p", layout="stereo")
        frame.sample_rate = RATE_HZ
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)
    clip = Clip(source="a.mp4", path=str(path))
    for way in (from_file, from_blocks, from_bytes):
        np.testing.assert_allclose(np.abs(way(clip)[: len(WAVE)]), np.abs(ints / 32768), atol=1e-4)
    assert CANCELLED.take() == ["a.mp4", "<bytes>"]


@pytest.mark.shared
@pytest.mark.skipif(not INVERTED.is_file(), reason="the real recordings are not beside the checkout")
def test_a_real_recording() -> None:
    left = soundfile.read(str(INVERTED), dtype="float32", always_2d=True)[0][:, 0]
    clip = Clip(source="inverted.wav", path=str(INVERTED))
    np.testing.assert_array_equal(read_clip(clip, soundfile.info(str(INVERTED)).samplerate), left)
    assert CANCELLED.take() == ["inverted.wav"]


@pytest.mark.parametrize("way", WAYS)
def test_the_first_block_with_sound_decides(
    way: Callable[[Clip], np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("earmark.audio.samples.BLOCK", 1000)
    alike = np.stack([WAVE, WAVE], axis=1)
    silence = np.zeros((1000, 2), np.float32)
    clip = write(tmp_path / "a.wav", np.concatenate([silence, OPPOSITE, alike]))
    np.testing.assert_array_equal(way(clip)[1000:], np.concatenate([OPPOSITE[:, 1], WAVE]))
    clip = write(tmp_path / "b.wav", np.concatenate([alike, OPPOSITE]))
    np.testing.assert_allclose(way(clip)[len(WAVE) :], OPPOSITE.mean(axis=1), atol=1e-6)


def test_other_channels_are_averaged_as_before(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for channels in (
        np.stack([WAVE, np.zeros_like(WAVE)], axis=1),
        0.1 * rng.standard_normal((8000, 2)).astype(np.float32),
        np.zeros((8000, 2), np.float32),
    ):
        clip = write(tmp_path / "a.wav", channels)
        np.testing.assert_allclose(read_clip(clip, RATE_HZ), channels.mean(axis=1), atol=1e-6)
    assert CANCELLED.take() == []


def test_one_warning_for_all_recordings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clips = [write(tmp_path / f"{i}.wav", OPPOSITE) for i in range(6)]
    clips.append(write(tmp_path / "good.wav", WAVE))
    with caplog.at_level(logging.WARNING, "earmark"):
        list(read_in_order(clips, RATE_HZ))
        list(read_in_order(clips, RATE_HZ))  # as a later epoch with --store off
    (line,) = caplog.messages
    assert line.startswith("6 recordings (")
    assert "and 3 more" in line
    assert "opposite phase" in line


def test_a_store_of_an_earlier_run_warns_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = ClipTable([write(tmp_path / "a.wav", OPPOSITE), write(tmp_path / "b.wav", WAVE)], "here")
    for _ in range(2):
        caplog.clear()
        store = open_or_build(table, RATE_HZ, root=tmp_path / "store", dtype="float32")
        np.testing.assert_array_equal(store.read(0), OPPOSITE[:, 1])
        assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
            "a.wav: the channels have opposite phase and cancel out in the mean. earmark uses one channel instead"
        ]


def test_a_store_lists_its_own_recordings_only(tmp_path: Path) -> None:
    other = ClipTable([write(tmp_path / "compared.wav", OPPOSITE)], "other")
    read_contents(other, num_threads=1)  # as when sources are combined
    table = ClipTable([write(tmp_path / "a.wav", OPPOSITE), write(tmp_path / "b.wav", WAVE)], "here")
    store = open_or_build(table, RATE_HZ, root=tmp_path / "stores")
    assert list(store.cancelled) == ["a.wav"]
