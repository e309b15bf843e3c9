"""Recordings are read to their end, whatever their header announces, and cuts are stretches of the whole."""

from __future__ import annotations

import logging
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")
from benchmarks.variant_cases import av_make, sf_make
from benchmarks.variants import check, likeness, main, make_variant
from earmark.audio import find_layout
from earmark.audio.decode import decode_bytes, duration_s, read_clip, stream_at_own_rate
from earmark.audio.reading import read_in_order
from earmark.clips.clip import Clip, ClipTable
from earmark.errors import AudioError
from earmark.store.store_build import open_or_build
from tests.audio.encoded import RATE_HZ, noted, own_rate, sound

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"


A, B = sound(0), sound(1, 0.7)


def set_wav_size(data: bytes, size: int) -> bytes:
    at = data.index(b"data") + 4
    return data[:at] + struct.pack("<I", size) + data[at + 4 :]


# -- WAV and its relatives

WAV = sf_make(A, RATE_HZ, "WAV", "PCM_16")
LIST = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf59.27.100\0"


@pytest.mark.parametrize(
    ("data", "warning"),
    [
        (set_wav_size(WAV, 32_044), r"0\.001 of 1\.001 s are missing"),
        (set_wav_size(WAV, 32_001), "less than 1 ms of 1.000 s is missing"),
        (set_wav_size(WAV, 0), "never finished"),
        (set_wav_size(WAV, 8000), r"the header announces 0\.250 s; all 1\.000 s are used"),
        (set_wav_size(WAV, 0) + LIST, "never finished"),
        (set_wav_size(WAV, 8000) + LIST, r"announces 0\.250 s; all 1\.000 s"),
        (set_wav_size(WAV, 0xFFFFFFFF) + LIST, ""),
        (set_wav_size(WAV, 0x7FFFFFFF), ""),
        (WAV + LIST, ""),
        (WAV + LIST[:-10], ""),
        (WAV + b"TAG" + bytes(125), ""),
        (WAV + bytes(4096), ""),
    ],
    ids=range(12),
)
def test_wav_sizes(data: bytes, warning: str, tmp_path: Path) -> None:
    samples = own_rate(data, tmp_path / "a.wav")
    np.testing.assert_allclose(samples, A[:, 0], atol=1e-4)
    found = noted()
    assert bool(found) == bool(warning)
    assert re.search(warning, found)
    assert duration_s(Clip("a", path=str(tmp_path / "a.wav"))) == 1.0


def test_one_byte_too_few(tmp_path: Path) -> None:
    samples = own_rate(WAV[:-1], tmp_path / "a.wav")
    np.testing.assert_allclose(samples, A[:-1, 0], atol=1e-4)
    assert "less than 1 ms" in noted()


@pytest.mark.parametrize(("container", "name"), [("W64", b"data\xf3\xac"), ("AIFF", b"SSND"), ("AU", b".snd")])
@pytest.mark.parametrize("size", [0, 8000, 32_030])
def test_sizes_of_other_containers(container: str, name: bytes, size: int, tmp_path: Path) -> None:
    data = bytearray(sf_make(A, RATE_HZ, container, "PCM_16"))
    at = data.index(name)
    if container == "W64":
        data[at + 16 : at + 24] = struct.pack("<Q", size + 24 if size else 0)
    else:
        field = at + (4 if container == "AIFF" else 8)
        data[field : field + 4] = struct.pack(">I", size + (8 if container == "AIFF" and size else 0))
    if container == "AIFF":
        frames_at = data.index(b"COMM") + 10
        data[frames_at : frames_at + 4] = struct.pack(">I", size // 2)
    np.testing.assert_allclose(own_rate(bytes(data), tmp_path / "a"), A[:, 0], atol=1e-4)
    assert noted()


def test_a_size_that_wrapped_at_4_gib(tmp_path: Path) -> None:
    """Two tones in a sparse file of more than 4 GiB, whose size field is the true one modulo 2**32."""
    rate_hz, block = 96_000, 8
    total = ((4 << 30) + 2 * rate_hz * block) // block * block
    wave = np.repeat(sound(3, 1.0, rate_hz=rate_hz), 2, axis=1)
    fmt = struct.pack("<HHIIHH", 3, 2, rate_hz, rate_hz * block, block, 32)
    path = tmp_path / "big.wav"
    with path.open("wb") as out:
        out.write(b"RIFF" + struct.pack("<I", (36 + total) & 0xFFFFFFFF) + b"WAVEfmt " + struct.pack("<I", 16) + fmt)
        out.write(b"data" + struct.pack("<I", total & 0xFFFFFFFF) + wave.tobytes())
        out.seek(44 + total - wave.nbytes)
        out.write(wave.tobytes())
    seconds = total / block / rate_hz
    assert duration_s(Clip("big", path=str(path))) == seconds
    last = Clip("big", path=str(path), offset_s=seconds - 1)
    np.testing.assert_array_equal(read_clip(last, rate_hz), wave[:, 0])
    assert "announces 2.000 s; all 5594." in noted()


# -- joined recordings


JOINED: dict[str, Callable[[np.ndarray, int], bytes]] = {
    "wav": lambda x, hz: sf_make(x, hz, "WAV", "PCM_16"),
    "flac": lambda x, hz: sf_make(x, hz, "FLAC", "PCM_16"),
    "vorbis": lambda x, hz: sf_make(x, hz, "OGG", "VORBIS"),
    "mp3": lambda x, hz: sf_make(x, hz, "MP3", "MPEG_LAYER_III"),
    "mp3 without Xing": lambda x, hz: av_make(x, hz, "mp3", "libmp3lame", {"write_xing": "0"}, 64),
}


@pytest.mark.parametrize("kind", JOINED)
@pytest.mark.parametrize("second", [B, sound(2), sound(4, 0.8, 2)], ids=["shorter", "as long", "stereo"])
def test_joined_recordings_are_read_to_the_end(kind: str, second: np.ndarray, tmp_path: Path) -> None:
    make = JOINED[kind]
    whole = own_rate(make(A, RATE_HZ) + make(second, RATE_HZ), tmp_path / "a")
    wanted = len(A) + len(second)
    assert wanted <= len(whole) <= wanted + (6 * 576 if "mp3" in kind else 0)
    for wave, part in ((A, whole[: len(A) + 2304]), (second, whole[len(A) :])):
        assert likeness(wave.mean(axis=1), part, RATE_HZ) > 0.95
    if kind != "mp3 without Xing" or second.shape[1] == 2:
        assert noted()
    check_cuts(tmp_path / "a", whole)


def test_joined_recordings_of_other_rates(tmp_path: Path) -> None:
    for kind in ("flac", "vorbis", "mp3"):
        make = JOINED[kind]
        data = make(A, RATE_HZ) + make(sound(5, 0.5, rate_hz=8000), 8000)
        whole = own_rate(data, tmp_path / "a")
        assert abs(len(whole) - 1.5 * RATE_HZ) <= (4000 if kind == "mp3" else 0)
        check_cuts(tmp_path / "a", whole)


def check_cuts(path: Path, whole: np.ndarray, tolerance: float = 1e-4) -> None:
    """Cuts are those stretches of the whole, whether the layout is known or not."""
    for first in (0, 100, len(whole) // 3, len(whole) - 3000):
        find_layout._thorough.clear()
        find_layout._honest.clear()
        clip = Clip("a", path=str(path), offset_s=first / RATE_HZ, duration_s=2000 / RATE_HZ)
        cut = np.concatenate([block for block, _ in stream_at_own_rate(clip)])
        np.testing.assert_allclose(cut, whole[first : first + 2000], atol=tolerance)


# -- MP3


@pytest.mark.parametrize("container", ["mp3", "mp2"])
@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
@pytest.mark.parametrize("options", [{"kbits": 64}, {"options": {"+global_quality": "600", "+flags": "+qscale"}}])
def test_mpeg_without_a_count_of_frames(container: str, rate_hz: int, options: dict, tmp_path: Path) -> None:
    kept = {} if container == "mp2" else {"write_xing": "0", "id3v2_version": "0"}
    options = {**options, "options": {**kept, **options.get("options", {})}}
    if container == "mp2":
        options = {"kbits": 128}
    codec = "libmp3lame" if container == "mp3" else "mp2"
    wave = sound(6, 3.0, rate_hz=rate_hz)
    whole = own_rate(av_make(wave, rate_hz, container, codec, **options), tmp_path / "a")
    assert len(wave) <= len(whole) <= len(wave) + 4 * 1152
    assert not noted()
    clip = Clip("a", path=str(tmp_path / "a"), offset_s=32_000 / rate_hz, duration_s=2000 / rate_hz)
    cut = np.concatenate([block for block, _ in stream_at_own_rate(clip)])
    np.testing.assert_allclose(cut, whole[32_000:34_000], atol=1e-5)
    assert duration_s(Clip("a", path=str(tmp_path / "a"))) == len(whole) / rate_hz


def test_an_mp3_in_blocks_is_that_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = av_make(sound(7, 2.0), RATE_HZ, "mp3", "libmp3lame", {"write_xing": "0"}, 32)
    whole = own_rate(data, tmp_path / "a")
    monkeypatch.setattr("earmark.audio.samples.BLOCK", 1000)
    np.testing.assert_array_equal(own_rate(data, tmp_path / "a"), whole)


def test_a_wrong_count_of_frames_and_garbage(tmp_path: Path) -> None:
    data = sf_make(A, RATE_HZ, "MP3", "MPEG_LAYER_III")
    at = max(data.find(b"Xing"), data.find(b"Info")) + 8
    count = struct.unpack(">I", data[at : at + 4])[0]
    half = data[:at] + struct.pack(">I", count // 2) + data[at + 4 :]
    assert len(own_rate(half, tmp_path / "a")) >= len(A)
    assert "all 1." in noted()
    assert len(A) <= len(own_rate(bytes(range(1, 200)) + data, tmp_path / "a")) <= len(A) + 4 * 576
    middle = len(data) // 2
    damaged = data[:middle] + bytes(300) + data[middle + 300 :]
    assert len(A) - 4 * 576 <= len(own_rate(damaged, tmp_path / "a")) <= len(A) + 1200
    assert "are damaged and silent" in noted()


# -- FLAC


@pytest.mark.parametrize("total", [0, 8000, 16_007, 32_000])
def test_flac_totals(total: int, tmp_path: Path) -> None:
    data = sf_make(A, RATE_HZ, "FLAC", "PCM_16")
    packed = int.from_bytes(data[18:26], "big") >> 36 << 36
    data = data[:18] + (packed | total).to_bytes(8, "big") + data[26:]
    whole = own_rate(data, tmp_path / "a")
    np.testing.assert_allclose(whole, A[:, 0], atol=1e-4)
    assert bool(noted()) == bool(total)  # 0 is "unknown", which writers to a pipe may leave
    check_cuts(tmp_path / "a", whole)


@pytest.mark.parametrize("offset_s", [0.0, 0.9])
def test_a_damaged_frame_of_flac_is_silence(offset_s: float, tmp_path: Path) -> None:
    wave = sound(8, 3.0)
    data = sf_make(wave, RATE_HZ, "FLAC", "PCM_16")
    middle = len(data) // 2
    path = tmp_path / "a.flac"
    whole = own_rate(data[:middle] + bytes(40) + data[middle + 40 :], path)
    assert len(whole) == len(wave)
    same = np.abs(whole - wave[:, 0]) < 1e-4
    assert (~same).sum() <= 4096
    assert not whole[~same].any()
    assert "0.256 s at 1." in noted()
    check_cuts(path, whole)


# -- Ogg, and what only PyAV reads


def test_ogg_behind_id3_and_with_a_broken_last_page(tmp_path: Path) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal((3 * RATE_HZ, 1)).astype(np.float32)
    data = sf_make(sound(9, 3.0) + noise, RATE_HZ, "OGG", "VORBIS")
    tagged = b"ID3\x03\0\0\0\0\x01\x00" + bytes(128) + data
    whole = own_rate(tagged, tmp_path / "a")
    assert len(whole) == 3 * RATE_HZ
    check_cuts(tmp_path / "a", whole)
    assert 1.5 * RATE_HZ < len(own_rate(data[:-10], tmp_path / "b")) < 3 * RATE_HZ
    assert "the last page is incomplete: at least" in noted()


@pytest.mark.parametrize(("container", "codec", "rate_hz"), [("ogg", "flac", 16_000), ("wav", "g726", 8000)])
def test_what_libsndfile_does_not_read(
    container: str, codec: str, rate_hz: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = av_make(sound(10, rate_hz=rate_hz), rate_hz, container, codec)
    assert len(own_rate(data, tmp_path / "a")) == rate_hz
    if container == "wav":  # stale, with a chunk behind it
        at = data.index(b"data")
        stale = data[: at + 4] + struct.pack("<I", 1000) + data[at + 8 :]
        assert len(own_rate(stale, tmp_path / "b")) == rate_hz
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioError, match=r"pip install 'earmark\[video\]'"):
        own_rate(data, tmp_path / "c")


def test_mp3_in_wav_needs_no_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = av_make(sound(11, 2.0), RATE_HZ, "wav", "libmp3lame", kbits=64)
    monkeypatch.setitem(sys.modules, "av", None)
    whole = own_rate(data, tmp_path / "a")
    assert 2 * RATE_HZ <= len(whole) <= 2 * RATE_HZ + 4 * 1152
    check_cuts(tmp_path / "a", whole)


def test_no_playlist_is_opened(tmp_path: Path) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(WAV)
    for text in (f"ffconcat version 1.0\nfile '{secret}'\n", f"#EXTM3U\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n"):
        for mark in ("", "fLaC\n", "OggS\n"):
            with pytest.raises(AudioError):
                decode_bytes((mark + text).encode(), RATE_HZ)


# -- warnings


def test_one_warning_for_each_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clips = []
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        for number in range(5):
            path = tmp_path / folder / f"{number}.wav"
            path.write_bytes(set_wav_size(WAV, 0))
            clips.append(Clip(path.name, path=str(path)))
    with caplog.at_level(logging.WARNING, "earmark"):
        list(read_in_order(clips, RATE_HZ))
        list(read_in_order(clips, RATE_HZ))
    first, second = caplog.messages
    assert first.startswith(
        f"{tmp_path / 'x'}: 5 recordings were read as far as possible, with faults: 0.wav (the header was"
    )
    assert "and 2 more" in second


def test_a_store_remembers_the_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(set_wav_size(WAV, 8000))
    table = ClipTable([Clip("a.wav", "a", str(path))], "data")
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "earmark"):
            store = open_or_build(table, RATE_HZ, root=tmp_path / "stores")
        assert any("all 1.000 s are used" in line for line in caplog.messages)
    assert store.num_samples.tolist() == [RATE_HZ]


# -- all together


# seed and number: one variant of each encoder, and those that once failed
VARIANTS = [(2, number) for number in range(46)]
VARIANTS += [(0, 117), (0, 160), (0, 180), (1, 25), (1, 82), (1, 128), (1, 226), (1, 301)]


@pytest.mark.parametrize(("seed", "number"), VARIANTS)
def test_variants(seed: int, number: int, tmp_path: Path) -> None:
    outcome = check(make_variant(number, seed), tmp_path)
    assert not outcome.result.startswith("FAIL"), outcome


def test_the_benchmark_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--count", "3", "--json", str(tmp_path / "a.json")]) == 0
    assert "| all | 3 |" in capsys.readouterr().out


@pytest.mark.shared
@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside the checkout")
@pytest.mark.parametrize(
    ("name", "seconds", "warning"),
    [
        ("sox_default.mp3", 6.034, ""), ("lame_vbr_t.mp3", 6.034, ""),
        ("concat.mp3", 6.159, "announces 2.000 s; all 6.159 s"),
        ("vorbis_chained.ogg", 6.0, "2 Ogg streams"), ("total_half.flac", 6.0, "announces 3.000 s"),
        ("corrupt_mid.flac", 6.0, "0.256 s at 2.560 s are damaged"), ("off44.wav", 2.0, "0.001 of 2.001 s"),
        ("data_zero.wav", 2.0, "never finished"), ("stale.wav", 6.0, "announces 1.000 s"), ("inverted.wav", 2.0, ""),
    ],
)  # fmt: skip
def test_the_shared_cases(name: str, seconds: float, warning: str) -> None:
    blocks = list(stream_at_own_rate(Clip(name, path=str(CASES / name))))
    assert sum(len(block) for block, _ in blocks) / blocks[0][1] == pytest.approx(seconds, abs=1e-3)
    found = noted()
    assert warning in found
    assert bool(warning) == bool(found)
