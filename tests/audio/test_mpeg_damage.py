"""MP3 files that are damaged, or whose count of frames is wrong: times behind the damage stay right."""

from __future__ import annotations

import io
import re
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")
from benchmarks.variant_cases import av_make
from benchmarks.variant_cases import tone as voice
from earmark.audio import layout_mpeg
from earmark.audio.decode import stream_at_own_rate
from earmark.audio.decode_blocks import _with_pyav
from earmark.audio.decode_soundfile import NotForSoundfileError
from earmark.audio.find_layout import Found, find_layout
from earmark.audio.incomplete import INCOMPLETE
from earmark.audio.layout import Layout
from earmark.audio.pieces import Pieces
from earmark.clips.clip import Clip
from earmark.errors import AudioError
from tests.audio.encoded import noted, own_rate

RATE_HZ = 44_100
NO_XING = {"write_xing": "0", "id3v2_version": "0"}
SAMPLES = voice(np.random.default_rng(0), RATE_HZ, 4.0, 1)


@pytest.mark.parametrize("container", ["mp3", "mp2", "mp3 without Xing"])
@pytest.mark.parametrize("count", [300, 3000])
@pytest.mark.parametrize("junk", [b"\0", b"\xff", b"\x5a"])
def test_silence_takes_the_place_of_damage(container: str, count: int, junk: bytes, tmp_path: Path) -> None:
    options = NO_XING if container == "mp3 without Xing" else {}
    codec = "mp2" if container == "mp2" else "libmp3lame"
    data = av_make(SAMPLES, RATE_HZ, container[:3], codec, options, 64)
    intact = own_rate(data, tmp_path / "intact")
    middle = len(data) // 2
    whole = own_rate(data[:middle] + junk * count + data[middle + count :], tmp_path / "a")
    assert len(whole) == len(intact)
    np.testing.assert_allclose(whole[-RATE_HZ:], intact[-RATE_HZ:], atol=1e-3)  # not a frame too early or too late
    if count == 3000:
        assert (found := re.fullmatch(r"about (\d\.\d+) s at (\d\.\d+) s are damaged and silent", noted()))
        assert 3000 / 8000 - 0.06 < float(found[1]) < 3000 / 8000 + 0.06  # 64 kbit/s are 8,000 bytes a second
        assert abs(float(found[2]) - len(intact) / RATE_HZ / 2) < 0.1
    cut = own_rate((tmp_path / "a").read_bytes(), tmp_path / "b", offset_s=3.0, duration_s=0.5)
    np.testing.assert_allclose(cut, whole[3 * RATE_HZ : 3 * RATE_HZ + RATE_HZ // 2], atol=1e-4)


def counts(data: bytes, frames: int | None = None, num_bytes: int | None = None) -> tuple[bytes, int, int]:
    """The recording with other counts in its Xing header, and those that it had."""
    at = max(data.find(b"Xing"), data.find(b"Info")) + 8
    old = struct.unpack(">II", data[at : at + 8])
    new = struct.pack(">II", old[0] if frames is None else frames, old[1] if num_bytes is None else num_bytes)
    return data[:at] + new + data[at + 8 :], *old


@pytest.mark.parametrize("factor", [0.5, 2, 20])
def test_a_wrong_count_of_frames_alone_is_no_reason_to_refuse(factor: float, tmp_path: Path) -> None:
    data = av_make(SAMPLES, RATE_HZ, "mp3", "libmp3lame", {}, 64)
    _, frames, num_bytes = counts(data)
    whole = own_rate(counts(data, round(frames * factor))[0], tmp_path / "a")
    assert len(SAMPLES) <= len(whole) <= len(SAMPLES) + 4 * 1152
    assert re.search(r"announces \d+\.\d+ s; all 4\.\d+ s are used", noted())
    with pytest.raises(AudioError, match="cut short"):
        own_rate(counts(data, frames * 3, num_bytes * 3)[0], tmp_path / "a")


@pytest.mark.parametrize(
    ("lame", "parts"), [("kept", 3), ("kept", 2), ("zeros", 2), ("padding", 2), ("another name", 2)]
)
def test_the_length_in_the_warning_is_the_decoded_length(lame: str, parts: int, tmp_path: Path) -> None:
    """Neither the delay of the encoder nor its padding is part of it."""
    data = av_make(SAMPLES, RATE_HZ, "mp3", "libmp3lame", {}, 64)
    at = data.find(b"Lavf", data.find(b"Info"))
    tag = {
        "kept": data[at : at + 24],
        "zeros": bytes(24),
        "padding": data[at : at + 21] + (1105 << 12 | 100).to_bytes(3, "big"),
        "another name": b"Gogo" + data[at + 4 : at + 24],
    }[lame]
    part = data[:at] + tag + data[at + 24 :]
    alone = len(own_rate(part, tmp_path / "alone")) / RATE_HZ
    INCOMPLETE.take()
    joined = len(own_rate(part * parts, tmp_path / "joined")) / RATE_HZ
    assert noted() == f"the header announces {alone:.3f} s; all {joined:.3f} s are used"
    cut = len(own_rate(part[: len(part) * 3 // 4], tmp_path / "cut")) / RATE_HZ
    assert f"{alone - cut:.3f} of {alone:.3f} s are missing at the end" in noted()


@pytest.mark.parametrize("junk", [b"\xff" * (4 << 20), b"\xff\xfb\x90\x00" * (1 << 18)], ids=["ff", "headers"])
def test_the_search_for_the_next_frame_is_bounded(junk: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    confirmed = layout_mpeg._confirmed
    monkeypatch.setattr(layout_mpeg, "_confirmed", lambda *args: calls.append(1) or confirmed(*args))
    (tmp_path / "a").write_bytes(b"\xff\xfb\x90\x64" + junk)
    with (tmp_path / "a").open("rb", buffering=0) as file:
        find_layout(file, thorough=True)
    assert len(calls) <= layout_mpeg._MOST_TRIED + 4


def test_without_pyav_a_damaged_recording_is_read_as_far_as_soundfile_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    clip = Clip("a", path=str(tmp_path / "a"))
    cause = NotForSoundfileError("Internal psf_fseek() failed.")
    assert list(_with_pyav(io.BytesIO(b"x"), clip, Found("ogg", Layout()), (RATE_HZ, RATE_HZ), cause)) == []
    assert noted() == "Internal psf_fseek() failed.; without PyAV nothing is decoded after 1.000 s"
    late = Clip("a", path=str(tmp_path / "a"), duration_s=2.0)
    with pytest.raises(AudioError, match=r"the clip ends at 2\.000 s, but its file ends at 1\.000 s"):
        list(_with_pyav(io.BytesIO(b"x"), late, Found("ogg", Layout()), (RATE_HZ, RATE_HZ), cause))
    with pytest.raises(AudioError, match=r"damaged \(Internal.*pip install 'earmark\[video\]'"):
        list(_with_pyav(io.BytesIO(b"x"), clip, Found("ogg", Layout()), (0, None), cause))


@pytest.mark.parametrize("options", [{}, {"+global_quality": "600", "+flags": "+qscale"}], ids=["constant", "variable"])
@pytest.mark.parametrize("rate_hz", [16_000, RATE_HZ])
def test_a_window_without_a_count_of_frames_costs_the_same_everywhere(
    options: dict, rate_hz: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wave = voice(np.random.default_rng(3), rate_hz, 60.0, 1)
    data = av_make(wave, rate_hz, "mp3", "libmp3lame", {**NO_XING, **options}, 0 if options else 64)
    whole = own_rate(data, tmp_path / "a")
    num_read = []
    readinto = Pieces.readinto
    monkeypatch.setattr(
        Pieces, "readinto", lambda self, buffer: num_read.append(readinto(self, buffer)) or num_read[-1]
    )
    for first_s in (8.0, 30.0, 57.7):
        num_read.clear()
        clip = Clip("a", path=str(tmp_path / "a"), offset_s=first_s, duration_s=0.5)
        cut = np.concatenate([block for block, _ in stream_at_own_rate(clip)])
        first = round(first_s * rate_hz)
        np.testing.assert_allclose(cut, whole[first : first + len(cut)], atol=1e-5)
        assert len(cut) == rate_hz // 2
        assert sum(num_read) < len(data) / 2
