"""Recordings whose headers are wrong, joined or followed by junk are read to their real end, or refused in one line."""

from __future__ import annotations

import contextlib
import re
import struct
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")
from benchmarks.variant_cases import av_make, sf_make
from earmark.audio import find_layout
from earmark.audio.decode import decode_bytes, duration_s, read_clip
from earmark.clips.clip import Clip
from earmark.errors import AudioError
from tests.audio.encoded import RATE_HZ, noted, own_rate, sound

A = sound(0)
WAV, AIFF, AU = (sf_make(A, RATE_HZ, container, "PCM_16") for container in ("WAV", "AIFF", "AU"))
COMM = AIFF.index(b"COMM")


def test_more_joined_wav_files_than_python_nests_calls(tmp_path: Path) -> None:
    wave = sound(1, 0.01)
    whole = own_rate(sf_make(wave, RATE_HZ, "WAV", "PCM_16") * 1200, tmp_path / "a.wav")
    np.testing.assert_allclose(whole, np.tile(wave[:, 0], 1200), atol=1e-4)
    assert noted() == "1200 WAV files were joined; the header announces only the first"


def test_a_joined_bw64_file_is_read(tmp_path: Path) -> None:
    rf64 = sf_make(A, RATE_HZ, "RF64", "PCM_16")
    assert rf64[:4] == b"RF64"
    assert len(own_rate(WAV + b"BW64" + rf64[4:], tmp_path / "a.wav")) == 2 * len(A)


@pytest.mark.parametrize("exponent", [b"\x7f\xff", b"\0\0", b"\xff\xff"])
def test_an_aiff_with_an_impossible_rate_does_not_crash(exponent: bytes) -> None:
    data = AIFF[: COMM + 16] + exponent + AIFF[COMM + 18 :]
    with contextlib.suppress(AudioError):  # libsndfile takes another rate, or refuses it
        decode_bytes(data, RATE_HZ)


def test_an_aiff_with_a_short_comm_chunk_is_refused() -> None:
    data = AIFF[:COMM] + b"COMM" + struct.pack(">I", 4) + AIFF[COMM + 8 : COMM + 12] + AIFF[COMM + 26 :]
    with pytest.raises(AudioError):
        decode_bytes(data, RATE_HZ)


@pytest.mark.parametrize("start", [0, 4, 23])
def test_an_au_file_whose_audio_starts_inside_the_header_does_not_crash(start: int) -> None:
    data = AU[:4] + struct.pack(">II", start, 1000) + AU[12:]
    with contextlib.suppress(AudioError):
        decode_bytes(data, RATE_HZ)


@pytest.mark.parametrize(
    ("container", "subtype", "endian"),
    [
        ("AIFF", "PCM_16", "BIG"),
        ("AIFF", "PCM_24", "BIG"),
        ("AIFF", "PCM_16", "LITTLE"),
        ("AIFF", "FLOAT", "FILE"),
        ("AIFF", "PCM_16", "FILE"),
        ("AU", "PCM_16", "BIG"),
    ],
)
def test_stale_sizes_above_4_gib(container: str, subtype: str, endian: str, tmp_path: Path) -> None:
    """One second at the start and one at the end of a sparse file whose header announces the first."""
    import soundfile

    path = tmp_path / "big"
    soundfile.write(path, A, RATE_HZ, format=container, subtype=subtype, endian=endian)
    data = path.read_bytes()
    frame = {"PCM_16": 2, "PCM_24": 3, "FLOAT": 4}[subtype]
    samples = data[-len(A) * frame :]
    total = ((4 << 30) + 100_000) // frame
    with path.open("r+b") as out:
        out.seek(len(data) - len(samples) + (total - len(A)) * frame)
        out.write(samples)
    assert duration_s(Clip("big", path=str(path))) == total / RATE_HZ
    last = Clip("big", path=str(path), offset_s=total / RATE_HZ - 1)
    np.testing.assert_allclose(read_clip(last, RATE_HZ), A[:, 0], atol=1e-4)
    assert "announces 1.000 s; all" in noted()


def test_the_layout_of_a_wav_file_is_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search for the end of the audio reads zeros up to the end of a file that was allocated before."""
    path = tmp_path / "a.wav"
    path.write_bytes(WAV + bytes(1 << 16))
    calls = []
    found = find_layout.wav_layout
    monkeypatch.setattr(find_layout, "wav_layout", lambda *args: calls.append(args) or found(*args))
    for first in range(4):
        read_clip(Clip("a", path=str(path), offset_s=first / 10, duration_s=0.1), RATE_HZ)
    assert len(calls) == 1
    path.write_bytes(WAV + WAV)
    assert len(read_clip(Clip("a", path=str(path)), RATE_HZ)) == 2 * len(A)


# -- wrong byte rates, junk behind the end


def test_seconds_do_not_come_from_a_wrong_byte_rate(tmp_path: Path) -> None:
    data = WAV[:28] + struct.pack("<I", 77) + WAV[32:40] + struct.pack("<I", 16_000) + WAV[44:]
    assert len(own_rate(data, tmp_path / "a.wav")) == len(A)
    assert noted() == "the header announces 0.500 s; all 1.000 s are used"


@pytest.mark.parametrize("data", [WAV, AIFF, AU], ids=["wav", "aiff", "au"])
def test_a_little_junk_behind_the_end_is_not_decoded(data: bytes, tmp_path: Path) -> None:
    whole = own_rate(data + b"\x55\xaahello" * 150, tmp_path / "a")
    np.testing.assert_allclose(whole, A[:, 0], atol=1e-4)
    assert noted() == "1,050 bytes (0.033 s) after the announced end are ignored"


@pytest.mark.parametrize("size", [0, 2, 5332, 16_000, 28_000, 32_001, 32_044])
def test_sizes_that_are_stale_zero_or_too_large_are_not_taken_for_junk(size: int, tmp_path: Path) -> None:
    data = WAV[:40] + struct.pack("<I", size) + WAV[44:]
    assert len(own_rate(data, tmp_path / "a.wav")) == len(A)


@pytest.mark.parametrize("container", ["CAF", "NIST", "VOC", "SVX", "AVR"])
@pytest.mark.parametrize("channels", [1, 2])
def test_cut_off_recordings_of_other_containers_have_a_warning(container: str, channels: int, tmp_path: Path) -> None:
    if container == "SVX" and channels == 2:
        pytest.skip("8SVX files of libsndfile are mono")
    data = sf_make(sound(2, channels=channels), RATE_HZ, container, "PCM_16")
    assert len(own_rate(data, tmp_path / "a")) == RATE_HZ
    assert not noted()
    lost = int(0.3 * RATE_HZ * 2 * channels)
    whole = own_rate(data[:-lost], tmp_path / "b")
    assert len(whole) == pytest.approx(0.7 * RATE_HZ, abs=10)
    assert re.fullmatch(r"0\.30\d of 1\.000 s are missing at the end", noted())
    with pytest.raises(AudioError, match="cut short"):
        own_rate(data[: -int(0.7 * RATE_HZ * 2 * channels)], tmp_path / "c")


@pytest.mark.parametrize(("bits", "per_packet"), [("PCM_S8", 60), ("PCM_16", 40), ("PCM_24", 30)])
def test_a_cut_off_sample_dump_is_not_filled_up_with_its_last_packet(
    bits: str, per_packet: int, tmp_path: Path
) -> None:
    data = sf_make(sound(2), RATE_HZ, "SDS", bits)
    whole = own_rate(data, tmp_path / "a.sds")
    assert (len(whole), noted()) == (RATE_HZ, "")
    packets = int(0.6 * RATE_HZ / per_packet)
    rest = own_rate(data[: 21 + 127 * packets + 60], tmp_path / "b.sds")
    np.testing.assert_array_equal(rest, whole[: packets * per_packet])
    missing_s = 1 - (packets + 60 / 127) * per_packet / RATE_HZ
    assert float(noted().split(" of ")[0]) == pytest.approx(missing_s, abs=0.01)


def test_a_cut_off_alac_recording_in_caf_has_a_warning(tmp_path: Path) -> None:
    data = sf_make(sound(2), RATE_HZ, "CAF", "ALAC_16")
    assert len(own_rate(data, tmp_path / "a.caf")) == RATE_HZ
    assert not noted()
    assert len(own_rate(data[:-40], tmp_path / "b.caf")) < RATE_HZ
    assert noted().endswith(" of 1.000 s are missing at the end")


def test_a_damaged_last_page_of_flac_in_ogg_has_a_warning(tmp_path: Path) -> None:
    data = bytearray(av_make(sound(2, 3.0), RATE_HZ, "ogg", "flac", {}))
    last = data.rindex(b"OggS")
    whole = own_rate(bytes(data), tmp_path / "a.oga")
    assert (len(whole), noted()) == (3 * RATE_HZ, "")
    data[last + 300 : last + 330] = bytes(30)
    rest = own_rate(bytes(data), tmp_path / "b.oga")
    assert len(rest) < 3 * RATE_HZ
    assert noted() == f"{3 - len(rest) / RATE_HZ:.3f} of 3.000 s are missing at the end"


@pytest.mark.parametrize(("bits", "width"), [("DPCM_8", 1), ("DPCM_16", 2)])
def test_a_cut_off_instrument_has_a_warning(bits: str, width: int, tmp_path: Path) -> None:
    data = bytearray(sf_make(sound(2, rate_hz=44_100), 44_100, "XI", bits))
    data[298:302] = struct.pack("<I", len(data) - 338)  # libsndfile leaves it at 0
    assert len(own_rate(bytes(data), tmp_path / "a.xi")) == 44_100
    assert not noted()
    assert len(own_rate(bytes(data[: -11_025 * width]), tmp_path / "b.xi")) == 33_075
    assert noted() == "0.250 of 1.000 s are missing at the end"


def test_a_codec_that_no_decoder_knows() -> None:
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 2036, b"WAVE", b"fmt ", 16, 0x4321, 1, 16000, 32000, 2, 16, b"data", 2000
    )
    with pytest.raises(AudioError, match="FFmpeg has no decoder for its audio track"):
        decode_bytes(head + bytes(2000), 16000)
