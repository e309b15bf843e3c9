"""Decoding: right samples from every format, and a reason for every broken file."""

from __future__ import annotations

import io
import os
import pickle
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.audio.decode import decode_bytes, read_clip, stream_clip, to_mono_at_rate
from earmark.audio.decode_pyav import joined
from earmark.audio.incomplete import INCOMPLETE
from earmark.clips.clip import Clip
from earmark.errors import AudioError
from tests.tiny import tone

RATE_HZ = 16_000
WAVE = tone(440.0, 3.0, seed=1)


def encode(samples: np.ndarray, rate_hz: int = RATE_HZ, container: str = "WAV", codec: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=container, subtype=codec)
    return buffer.getvalue()


def encode_av(container: str, codec: str, seconds: float = 3.0, rate_hz: int = 48_000) -> bytes:
    av = pytest.importorskip("av")
    buffer = io.BytesIO()
    samples = tone(440.0, seconds, seed=1, rate_hz=rate_hz)
    with av.open(buffer, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate_hz)
        frame = av.AudioFrame.from_ndarray(np.stack([samples, samples]), format="fltp", layout="stereo")
        frame.sample_rate = rate_hz
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)
    return buffer.getvalue()


def clip_of(path: Path, **cut: float) -> Clip:
    return Clip(source=str(path), path=str(path), **cut)


def reason(data: bytes) -> str:
    with pytest.raises(AudioError) as caught:
        decode_bytes(data, RATE_HZ, "a.wav")
    assert caught.value.source == "a.wav"
    return caught.value.reason


@pytest.mark.parametrize(
    ("container", "codec", "tolerance"),
    [
        ("WAV", "PCM_16", 1e-4), ("WAV", "PCM_24", 1e-6), ("WAV", "FLOAT", 1e-7), ("WAV", "DOUBLE", 1e-7),
        ("FLAC", "PCM_16", 1e-4), ("AIFF", "PCM_16", 1e-4), ("AU", "PCM_16", 1e-4), ("W64", "PCM_16", 1e-4),
        ("CAF", "ALAC_16", 1e-4), ("OGG", "VORBIS", 0.03), ("OGG", "OPUS", 0.1), ("MP3", "MPEG_LAYER_III", 0.03),
    ],
)  # fmt: skip
def test_every_format_gives_the_samples_back(container, codec, tolerance, tmp_path):
    data = encode(WAVE, container=container, codec=codec)
    path = tmp_path / "recording.xyz"  # the ending says nothing
    path.write_bytes(data)
    for samples in (read_clip(clip_of(path), RATE_HZ), decode_bytes(data, RATE_HZ)):
        assert samples.dtype == np.float32
        assert samples.shape == WAVE.shape
        assert np.sqrt(np.mean((samples - WAVE) ** 2)) < tolerance


@pytest.mark.parametrize(
    ("container", "codec"),
    [("WAV", None), ("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)],
)
def test_a_cut_is_that_stretch_of_the_whole(container, codec, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(encode(WAVE, container=container, codec=codec))
    whole = read_clip(clip_of(path), RATE_HZ)
    cut = read_clip(clip_of(path, offset_s=1.25, duration_s=0.5), RATE_HZ)
    tolerance = 1e-3 if codec == "OPUS" else 1e-6  # Opus predicts from what came before the cut
    np.testing.assert_allclose(cut, whole[20_000:28_000], atol=tolerance)
    rest = read_clip(clip_of(path, offset_s=2.5), RATE_HZ)
    np.testing.assert_allclose(rest, whole[40_000:], atol=tolerance)


def test_a_cut_of_a_long_file_does_not_decode_all_of_it(tmp_path):
    path = tmp_path / "hour.wav"
    with soundfile.SoundFile(path, "w", 8000, 1, "PCM_16") as out:
        out.seek(3600 * 8000 - 8000)
        out.write(WAVE[:8000])  # the hour before is a hole in the file
    samples = read_clip(clip_of(path, offset_s=3599.0), 8000)
    np.testing.assert_allclose(samples, WAVE[:8000], atol=1e-4)


def test_channels_are_averaged_not_samples():
    stereo = np.stack([WAVE, np.zeros_like(WAVE)], axis=1)
    np.testing.assert_allclose(decode_bytes(encode(stereo, codec="FLOAT"), RATE_HZ), WAVE / 2, atol=1e-6)
    np.testing.assert_allclose(to_mono_at_rate(stereo, 16_000, 16_000, "x"), WAVE / 2, atol=1e-6)


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_resampling_keeps_time_and_pitch(rate_hz):
    clean = np.sin(2 * np.pi * 440 * np.arange(2 * rate_hz) / rate_hz).astype(np.float32)
    samples = decode_bytes(encode(clean, rate_hz, codec="FLOAT"), RATE_HZ)
    assert len(samples) == 2 * RATE_HZ
    wanted = np.sin(2 * np.pi * 440 * np.arange(2 * RATE_HZ) / RATE_HZ)
    assert np.abs(samples - wanted)[1000:-1000].max() < 1e-3


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 48_000, 192_000])
def test_one_sample_is_enough(rate_hz):
    samples = decode_bytes(encode(np.array([0.5], np.float32), rate_hz, codec="FLOAT"), RATE_HZ)
    assert samples.dtype == np.float32
    assert len(samples) >= 1
    assert np.isfinite(samples).all()


def test_integers_are_scaled_by_their_type():
    def scaled(values, dtype):
        return to_mono_at_rate(np.array(values, dtype), 16_000, 16_000, "x").tolist()

    assert scaled([-(2**15), 0, 2**14], np.int16) == [-1.0, 0.0, 0.5]
    assert scaled([-(2**31), 2**30], np.int32) == [-1.0, 0.5]
    assert scaled([0, 128, 192], np.uint8) == [-1.0, 0.0, 0.5]


@pytest.mark.parametrize(
    ("samples", "rate_hz", "said"),
    [
        (np.zeros(0, np.float32), 16_000, "holds no samples"),
        (np.array([0.0, np.nan]), 16_000, "1 sample is NaN or infinite"),
        (np.array([1e300]), 16_000, "NaN or infinite"),
        (np.array([0.0, -1e38]), 16_000, "1 sample is above 8 times full scale, the first at 0.000 s"),
        (np.zeros((2, 16_000), np.float32), 16_000, "transpose"),
        (np.zeros((2, 3, 4), np.float32), 16_000, "neither (samples,) nor"),
        (np.zeros((2, 0), np.float32), 16_000, "holds no samples"),
        (np.array(["a"]), 16_000, "not audio"),
        (np.zeros(5, np.float32), 0, "above 0"),
    ],
)
def test_arrays_that_are_no_sound(samples, rate_hz, said):
    with pytest.raises(AudioError, match="mic: ") as caught:
        to_mono_at_rate(samples, rate_hz, 16_000, "mic")
    assert said in caught.value.reason


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", None), ("AIFF", "PCM_16"), ("AU", "PCM_16"), ("W64", "PCM_16"),
        ("CAF", "ALAC_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kept", [0.95, 0.4, 0.1])
def test_a_file_cut_short_is_found_out(container, codec, kept, tmp_path):
    """It is read with a warning, or refused if more than half of what the header announces is missing."""
    data = encode(WAVE, container=container, codec=codec)
    path = tmp_path / "a"
    path.write_bytes(data[: int(len(data) * kept)])
    INCOMPLETE.take()
    if kept > 0.5:
        samples = read_clip(clip_of(path), RATE_HZ)
        least = 1.9 if container == "OGG" else 2.8  # a page of Ogg has a second
        assert least * RATE_HZ < len(samples) < 2.95 * RATE_HZ
        if codec not in ("VORBIS", "OPUS", None):
            np.testing.assert_allclose(samples, WAVE[: len(samples)], atol=1e-3)
        (said,) = INCOMPLETE.take().values()
        assert "missing at the end" in said
    elif container != "OGG":  # Ogg announces no length
        with pytest.raises(AudioError, match=r"cut short: the header announces 3\.\d+ s, but the file holds [01]\.\d"):
            read_clip(clip_of(path), RATE_HZ)
    else:
        with pytest.raises(AudioError, match="damaged") if codec == "VORBIS" or kept < 0.2 else nullcontext():
            read_clip(clip_of(path), RATE_HZ)
            assert "missing at the end" in str(INCOMPLETE.take())


@pytest.mark.parametrize(("container", "codec"), [("mp4", "aac"), ("webm", "libopus"), ("matroska", "libopus")])
def test_what_soundfile_cannot_read_goes_to_pyav(container, codec, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(encode_av(container, codec))
    whole = read_clip(clip_of(path), RATE_HZ)
    assert abs(len(whole) - len(WAVE)) < 0.03 * RATE_HZ
    spectrum = np.abs(np.fft.rfft(whole[8000:24_000]))
    assert np.argmax(spectrum) == 440  # 1 s window: bins of 1 Hz
    cut = read_clip(clip_of(path, offset_s=1.25, duration_s=0.5), RATE_HZ)
    assert len(cut) == 8000
    assert np.abs(cut - whole[20_000:28_000])[100:-100].max() < 0.02


@pytest.mark.parametrize(("container", "codec"), [("mp4", "aac"), ("webm", "libopus"), ("adts", "aac")])
def test_pyav_files_cut_short_are_found_out(container, codec):
    data = encode_av(container, codec)
    if container == "adts":  # announces no length: only the last packet shows that it was cut off
        INCOMPLETE.take()
        assert 1.0 * RATE_HZ < len(decode_bytes(data[: len(data) // 2], RATE_HZ)) < 2.0 * RATE_HZ
        assert "damaged" in INCOMPLETE.take()["<bytes>"]
    else:
        assert "cut short" in reason(data[: len(data) // 3])
        INCOMPLETE.take()
        if container == "webm":  # an MP4 has its tables behind the audio
            assert len(decode_bytes(data[: 9 * len(data) // 10], RATE_HZ)) < 2.9 * RATE_HZ
            assert "missing at the end" in INCOMPLETE.take()["<bytes>"]


class _CountedPacket(np.ndarray):
    """A packet that counts how often its length is asked for."""

    asked = 0

    def __len__(self) -> int:
        type(self).asked += 1
        return super().__len__()


def test_joining_packets_looks_at_each_once(monkeypatch):
    monkeypatch.setattr("earmark.audio.samples.BLOCK", 1000)
    monkeypatch.setattr(_CountedPacket, "asked", 0)
    samples = np.arange(2 * 3500, dtype=np.float32).reshape(3500, 2)
    packets = [samples[start : start + 7].view(_CountedPacket) for start in range(0, len(samples), 7)]
    blocks = [block for block, _ in joined(iter([(packet, 8000) for packet in packets]))]
    assert _CountedPacket.asked <= 2 * len(packets)
    assert [block.shape[0] for block in blocks] == [1001, 1001, 1001, 497]
    np.testing.assert_array_equal(np.concatenate(blocks), samples)


def test_without_pyav_the_reason_has_the_pip_command(monkeypatch):
    data = encode_av("mp4", "aac")
    monkeypatch.setitem(sys.modules, "av", None)
    assert "pip install 'earmark[video]'" in reason(data)


def test_a_length_of_unknown_is_no_truncation():
    data = bytearray(encode(WAVE))
    at = data.find(b"data")
    for sentinel in (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f"):
        data[at + 4 : at + 8] = sentinel
        assert len(decode_bytes(bytes(data), RATE_HZ)) == len(WAVE)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"this is a text file\n" * 100, "not audio"),
        (np.random.default_rng(0).bytes(20_000), "not audio"),
        (b"\0" * 5000, "not audio"),
        (encode(np.zeros(0, np.float32)), "holds no samples"),
        (
            encode(np.array([0, np.inf, 0], np.float32), codec="FLOAT"),
            "1 sample is NaN or infinite, the first at 0.000",
        ),
        (encode(np.full(9, np.nan, np.float32), codec="FLOAT"), "9 samples are NaN"),
    ],
    ids=[
        "nothing",
        "text",
        "noise",
        "zeros",
        "no samples",
        "infinite",
        "nan",
    ],  # libsndfile writes the time into floats
)
def test_bytes_that_are_no_recording(data, said):
    pytest.importorskip("av")
    assert said in reason(data)


def test_paths_that_are_no_recording(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, said in (
        ("missing.wav", "no such file"),
        ("", "folder"),
        ("pipe", "pipe"),
        ("a\0b", "is not a path"),
    ):
        with pytest.raises(AudioError) as caught:
            read_clip(clip_of(Path(f"{tmp_path}/{name}")), RATE_HZ)
        assert said in caught.value.reason


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(encode(WAVE))
    path.chmod(0)
    with pytest.raises(AudioError, match="no permission"):
        read_clip(clip_of(path), RATE_HZ)


@pytest.mark.parametrize(
    ("cut", "said"),
    [
        ({"offset_s": 3.0}, "after the end of the recording"),
        ({"offset_s": 10.0}, "after the end of the recording"),
        ({"offset_s": -1.0}, "0 or more"),
        ({"offset_s": float("nan")}, "0 or more"),
        ({"duration_s": 0.0}, "above 0"),
        ({"offset_s": 2.0, "duration_s": 2.0}, "the clip ends at 4.000 s, but its file ends at 3.000 s"),
    ],
)
@pytest.mark.parametrize("container", ["WAV", "mp4"])
def test_cuts_outside_the_recording(cut, said, container, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(encode(WAVE) if container == "WAV" else encode_av("mp4", "aac", seconds=2.99))
    if container == "mp4":
        said = said.split(",")[0]
        cut = cut | ({"offset_s": 3.1} if cut.get("offset_s") == 3.0 else {})
    with pytest.raises(AudioError) as caught:
        read_clip(clip_of(path, **cut), RATE_HZ)
    assert said in caught.value.reason


def test_a_duration_rounded_up_by_the_manifest_is_taken(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(encode(WAVE))
    assert len(read_clip(clip_of(path, offset_s=2.0, duration_s=1.05), RATE_HZ)) == RATE_HZ


def test_embedded_bytes_are_read_on_demand():
    clip = Clip(source="table row 7", read_bytes=lambda: encode(WAVE))
    assert len(read_clip(clip, RATE_HZ)) == len(WAVE)
    with pytest.raises(AudioError, match="table row 7: the file is empty"):
        read_clip(Clip(source="table row 7", read_bytes=bytes), RATE_HZ)


def test_the_error_survives_a_worker_process():
    error = pickle.loads(pickle.dumps(AudioError("a.wav", "no such file")))
    assert (error.source, error.reason, str(error)) == ("a.wav", "no such file", "a.wav: no such file")


@pytest.mark.parametrize(("container", "codec"), [("WAV", None), ("OGG", "VORBIS"), ("MP3", None), ("mp4", "aac")])
@pytest.mark.parametrize("rate_hz", [16_000, 11_025])
def test_a_stream_gives_the_same_samples(container, codec, rate_hz, tmp_path, monkeypatch):
    monkeypatch.setattr("earmark.audio.samples.BLOCK", 1000)
    path = tmp_path / "a"
    if container == "mp4":
        path.write_bytes(encode_av("mp4", "aac"))
    else:
        path.write_bytes(encode(tone(400, 1.0), container=container, codec=codec))
    for clip in (clip_of(path), clip_of(path, offset_s=0.31, duration_s=0.4)):
        blocks = list(stream_clip(clip, rate_hz))
        assert len(blocks) > 4
        np.testing.assert_array_equal(np.concatenate(blocks), read_clip(clip, rate_hz))


def test_a_stream_of_one_sample():
    data = encode(np.array([0.25], np.float32), 192_000, codec="FLOAT")
    clip = Clip(source="a", read_bytes=lambda: data)
    (block,) = stream_clip(clip, 8000)
    np.testing.assert_array_equal(block, read_clip(clip, 8000))


def test_a_stream_says_where_it_broke(tmp_path, monkeypatch):
    monkeypatch.setattr("earmark.audio.samples.BLOCK", 1000)
    samples = np.zeros(RATE_HZ, np.float32)
    samples[12_000] = np.nan
    path = tmp_path / "a.wav"
    path.write_bytes(encode(samples, codec="FLOAT"))
    blocks = stream_clip(clip_of(path), RATE_HZ)
    assert sum(len(next(blocks)) for _ in range(12)) == 12_000
    with pytest.raises(AudioError, match=r"1 sample is NaN or infinite, the first at 0\.750 s"):
        next(blocks)
    with pytest.raises(AudioError, match="no such file"):
        next(stream_clip(clip_of(tmp_path / "none.wav"), RATE_HZ))


def test_damage_that_no_decoder_reads_is_one_sentence() -> None:
    stream = io.BytesIO()
    soundfile.write(stream, np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000, format="FLAC")
    for data, said in (
        (stream.getvalue()[:60], r"^a: damaged or cut short \([^;:()]+\)$"),
        (b"OggS" + bytes(500), r"^a: damaged or cut short \([^;:()]+\)$"),
        (b"this is no audio " * 50, r"^a: not audio, or damaged or cut short \([^;:()]+\)$"),
    ):
        with pytest.raises(AudioError, match=said):
            decode_bytes(data, 16_000, "a")
