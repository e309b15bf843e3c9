"""Every suffix that a folder scan takes for a recording has a reader, and FFmpeg gets no demuxer that opens files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")
import av
import soundfile
from av.format import ContainerFormat

from benchmarks.variant_cases import av_make
from benchmarks.variant_cases import tone as voice
from earmark.audio.containers import DEMUXERS, PROBED, headerless_demuxer, sniff
from earmark.audio.decode import AUDIO_SUFFIXES, decode_bytes, read_clip
from earmark.clips.clip import Clip

# suffixes of what libsndfile and FFmpeg read that neither lists
_OTHERS = {
    "wav": "wav wave wavex rf64 bwf bw64 amb at3",
    "w64": "w64", "aiff": "aif aiff aifc afc", "au": "au snd", "caf": "caf",
    "ogg": "oga ogx opus spx ogv ogm", "mp3": "mp1 mpga", "voc": "voc", "nistsphere": "nis",
    "mov": "m4r f4a m4v qt 3gpp",
    "matroska": "weba", "aac": "adts", "loas": "loas latm", "amr": "amr awb 3ga", "asf": "wma asf wmv", "avi": "divx",
    "xwma": "xwma", "ilbc": "lbc ilbc", "qcp": "qcp", "wv": "wv", "truehd": "truehd", "dsf": "dsf", "rm": "ra rm rmvb",
    "mmf": "mmf", "sox": "sox", "rso": "rso", "mpegts": "ts mts m2ts", "mpeg": "mpg mpeg mpe vob", "mxf": "mxf",
    "gxf": "gxf", "wtv": "wtv", "swf": "swf", "iff": "iff svx 8svx", "wve": "wve",
}  # fmt: skip
_LIBSNDFILE = {"htk", "mpc2k", "xi", "paf", "fap", "pvf", "sds", "ircam", "sf", "avr", "wve", "voc", "sph"}


def readers() -> set[str]:
    """Suffixes with a reader."""
    probed = {*PROBED.split(","), *DEMUXERS.values()}
    found = {suffix for name, suffixes in _OTHERS.items() if name in {*probed, "rso"} for suffix in suffixes.split()}
    for name in probed:
        found |= set(ContainerFormat(name, "r").extensions)
    found |= {suffix[1:] for suffix in AUDIO_SUFFIXES if headerless_demuxer(f"a{suffix}")}
    return found | _LIBSNDFILE | {name.lower() for name in soundfile.available_formats()}


def test_every_scanned_suffix_has_a_reader() -> None:
    assert {suffix[1:] for suffix in AUDIO_SUFFIXES} - readers() == set()


def test_no_demuxer_opens_other_files() -> None:
    names = PROBED.split(",")
    assert len(names) == len(set(names))
    for name in names:
        ContainerFormat(name, "r")  # raises for one that FFmpeg does not have
        assert not re.search("hls|concat|sdp|dash|rtsp|image2|lavfi|webm_dash|imf|ffmetadata", name)


@pytest.mark.parametrize(
    ("suffix", "container", "codec", "rate_hz", "channels"),
    [
        ("nut", "nut", "pcm_s16le", 44_100, 1), ("rso", "rso", "pcm_u8", 44_100, 1),
        ("ast", "ast", "pcm_s16be_planar", 44_100, 1), ("wtv", "wtv", "mp2", 44_100, 1),
        ("swf", "swf", "mp3", 44_100, 1), ("gxf", "gxf", "pcm_s16le", 48_000, 1),
        ("adx", "adx", "adpcm_adx", 44_100, 1), ("aptx", "aptx", "aptx", 48_000, 2),
        ("mmf", "mmf", "adpcm_yamaha", 44_100, 1), ("722", "g722", "g722", 16_000, 1),
        ("tco", "g723_1", "g723_1", 8000, 1),
    ],
)  # fmt: skip
def test_formats_that_only_ffmpeg_reads(
    suffix: str, container: str, codec: str, rate_hz: int, channels: int, tmp_path: Path
) -> None:
    wave = voice(np.random.default_rng(0), rate_hz, 2.0, channels)
    try:
        data = av_make(wave, rate_hz, container, codec, kbits=6.3 if codec == "g723_1" else 0)  # type: ignore[arg-type]
    except (ValueError, av.error.FFmpegError) as exc:
        pytest.skip(f"this FFmpeg does not write it: {exc}")
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(data)
    assert abs(len(read_clip(Clip("a", path=str(path)), 16_000)) / 16_000 - 2) < 0.2


@pytest.mark.parametrize(
    ("container", "codec"), [("adts", "aac"), ("tta", "tta"), ("wv", "wavpack"), ("mp3", "libmp3lame"), ("mp2", "mp2")]
)
@pytest.mark.parametrize("length", [100, 20_000])
def test_a_tag_in_front_does_not_make_it_mp3(container: str, codec: str, length: int) -> None:
    wave = voice(np.random.default_rng(0), 44_100, 1.0, 1)
    data = av_make(wave, 44_100, container, codec)
    if data.startswith(b"ID3"):
        data = av_make(wave, 44_100, container, codec, {"id3v2_version": "0"})
    tagged = b"ID3\x04\0\0\0" + bytes([length >> 14, length >> 7 & 127, length & 127]) + bytes(length) + data
    assert sniff(tagged) == sniff(data)
    assert abs(len(decode_bytes(tagged, 16_000)) - 16_000) < 4000


def test_what_is_no_recording_behind_a_tag_is_not_called_mp3() -> None:
    tag = b"ID3\x04\0\0\0\0\0\x10" + bytes(16)
    assert sniff(tag + b"not a recording " * 1000) is None
    assert sniff(tag[:10]) == "mp3"  # the tag goes on behind what is known
