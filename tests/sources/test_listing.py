"""What a scan takes for a recording, which folders it searches, and what it says about the rest."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.audio.decode import AUDIO_SUFFIXES, read_clip
from earmark.clips.clip import Clip
from earmark.errors import DataError
from earmark.predict.inputs import find_recordings
from earmark.settings.data_flags import DataArguments
from earmark.sources.folders import load_folder
from earmark.sources.listing import list_audio, list_recordings
from earmark.sources.load_clips import load_splits
from earmark.sources.unlabelled import load_unlabelled
from tests.sources.empty_files import touch
from tests.tiny import tone

SYSTEM = ["@eaDir", "__MACOSX", ".ipynb_checkpoints", "$RECYCLE.BIN", "System Volume Information", "lost+found", ".git"]


def names(folder: Path) -> list[str]:
    return [os.path.relpath(path, folder) for path in list_recordings(folder).paths]


@pytest.mark.parametrize("system", SYSTEM)
def test_system_folders_are_no_classes_and_not_searched(system: str, tmp_path: Path) -> None:
    touch(tmp_path, "a/1.wav", "b/2.wav", f"{system}/1.wav", f"{system}/a/3.wav", f"a/{system}/1.wav")
    assert names(tmp_path) == ["a/1.wav", "b/2.wav"]
    splits = load_folder(tmp_path)
    assert splits.train is not None
    assert splits.train.label_counts() == {"a": 1, "b": 1}
    assert splits.notes == [f"{tmp_path}: did not search system and hidden folders: {system}"]
    assert list(find_recordings([str(tmp_path)]).values()) == ["a/1.wav", "b/2.wav"]


def test_files_of_systems_are_no_recordings_and_not_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.wav", "a/._1.wav", "a/.DS_Store", "a/Thumbs.db", "a/desktop.ini", "b/2.wav", "b/._2.wav")
    splits = load_folder(tmp_path)
    assert splits.train is not None
    assert splits.train.label_counts() == {"a": 1, "b": 1}
    assert splits.notes == []


def test_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/1.wav", "b/2.wav")
    monkeypatch.chdir(tmp_path)
    assert find_recordings([".", "b/", "./a/1.wav"]) == {"a/1.wav": "a/1.wav", "b/2.wav": "b/2.wav"}
    splits = load_folder(".")
    assert splits.train is not None
    assert splits.train.labels() == ["a", "b"]


def test_what_is_skipped_is_counted_by_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.wav", "a/1.TXT", "b/2.txt", "cover.jpg", *[f"x/{i}.s{i}" for i in range(7)])
    (line,) = list_recordings(tmp_path).skipped.notes(tmp_path)
    assert line.startswith(f"{tmp_path}: skipped 10 files without an audio suffix: 2 .txt (")
    assert line.endswith(" and 3 more")
    assert "1 .jpg (cover.jpg)" in line


def test_every_scan_logs_what_it_skips(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "a/1.wav", "a/notes.txt", "@eaDir/1.wav")
    with caplog.at_level("INFO"):
        find_recordings([str(tmp_path)])  # predict, embed and label
    assert caplog.messages == [
        f"{tmp_path}: skipped 1 file without an audio suffix: 1 .txt (a/notes.txt)",
        f"{tmp_path}: did not search system and hidden folders: @eaDir",
    ]


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "sub/1.wav", "2.wav")
    touch(tmp_path / "data", "b/3.wav")
    (tmp_path / "data" / "a").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "b" / "4.wav").symlink_to(tmp_path / "elsewhere" / "2.wav")
    assert names(tmp_path / "data") == ["a/2.wav", "a/sub/1.wav", "b/3.wav", "b/4.wav"]
    assert [os.path.relpath(p, tmp_path) for p in list_audio(tmp_path / "data" / "a")] == [
        "data/a/2.wav",
        "data/a/sub/1.wav",
    ]


def test_no_folder_is_searched_twice_and_none_for_ever(tmp_path: Path) -> None:
    data = touch(tmp_path / "data", "a/1.wav", "b/2.wav", "c/3.wav")
    touch(tmp_path, "beside.wav")
    (data / "a" / "up").symlink_to(data)  # a circle within the folder
    (data / "a" / "outside").symlink_to(tmp_path)  # leads to a folder around the one that is searched
    (data / "b" / "self").symlink_to(data / "b" / "self")  # leads nowhere
    (data / "0").symlink_to(data / "c")  # the real folder counts, although the link is first by name
    (data / "b" / "again").symlink_to(data / "c")
    assert names(data) == ["a/1.wav", "b/2.wav", "c/3.wav"]
    links = list_recordings(data).skipped.notes(data)[-1]
    assert links == (
        f"{data}: did not follow links to folders that are already searched: 0, a/outside, a/up and 1 more"
    )


def test_two_links_to_each_other_end(tmp_path: Path) -> None:
    left, right = touch(tmp_path / "left", "1.wav"), touch(tmp_path / "right", "2.wav")
    (left / "to").symlink_to(right)
    (right / "to").symlink_to(left)
    assert names(left) == ["1.wav", "to/2.wav"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.wav", "b/2.wav")
    (tmp_path / "b").chmod(0)
    with pytest.raises(DataError, match=r"b: the folder cannot be listed .*Fix its permissions"):
        list_recordings(tmp_path)
    (tmp_path / "b").chmod(0o755)


def test_all_commands_find_the_same_recordings(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "1.GSM", "sub/2.wav")
    data = touch(tmp_path / "data", "a/1.wav", "a/x/2.mka", "b/3.flac", "b/._3.flac", "b/x.txt", "@eaDir/b/3.flac")
    (data / "c").symlink_to(tmp_path / "elsewhere")
    (data / "b" / "up").symlink_to(data)
    wanted = [str(data / name) for name in ("a/1.wav", "a/x/2.mka", "b/3.flac", "c/1.GSM", "c/sub/2.wav")]
    labelled = load_splits(DataArguments(data_dir=str(data)), seed=0, check=False)  # train, evaluate, inspect
    assert sorted(clip.source for clip in [*(labelled.train or []), *(labelled.validation or [])]) == wanted
    unlabelled = load_unlabelled(DataArguments(data_dir=str(data)), seed=0, anyway=True)  # inspect --unlabelled
    assert unlabelled is not None
    assert [clip.source for clip in unlabelled.train or []] == wanted
    assert list(find_recordings([str(data)])) == wanted  # predict, embed, label
    assert [str(path) for path in list_audio(data)] == wanted  # corpora


# ---------------------------------------------------------------- suffixes

SOUNDFILE = {
    "AIFF": "aif aiff aifc afc", "AU": "au snd", "AVR": "avr", "CAF": "caf", "FLAC": "flac", "HTK": "htk",
    "SVX": "svx iff 8svx", "MP3": "mp3", "MPC2K": "mpc2k", "OGG": "ogg oga", "PAF": "paf fap", "PVF": "pvf",
    "RF64": "rf64", "SDS": "sds", "IRCAM": "sf ircam", "VOC": "voc", "W64": "w64", "WAV": "wav wave bwf amb",
    "NIST": "nist sph nis", "WAVEX": "wavex", "WVE": "wve", "XI": "xi",
}  # fmt: skip
NOT_SCANNED = {"MAT4", "MAT5", "RAW", "SD2"}  # tables of numbers; no header; two files
FFMPEG = ["aac", "ac3", "ape", "avi", "dts", "eac3", "flv", "g722", "gsm", "matroska", "mov", "mp3", "nut", "oma",
          "qcp", "shn", "sln", "tak", "truehd", "tta", "vqf", "wv"]  # fmt: skip
PICTURES = {".avif", ".heic", ".heif", ".mj2", ".ism", ".ismv", ".psp", ".mks", ".mac", ".vqe", ".vql"}  # and the like


@pytest.mark.parametrize("form", sorted(soundfile.available_formats()))
def test_formats_that_soundfile_reads_are_scanned(form: str, tmp_path: Path) -> None:
    if form in NOT_SCANNED:
        return
    for suffix in SOUNDFILE[form].split():
        path = tmp_path / f"1.{suffix}"
        subtype = "ALAW" if form == "WVE" else None
        soundfile.write(path, tone(300, 0.2, rate_hz=8000), 8000, format=form, subtype=subtype)
        assert list_audio(tmp_path) == [path]
        assert len(read_clip(Clip(str(path), path=str(path)), 8000)) > 0
        path.unlink()


@pytest.mark.parametrize("form", FFMPEG)
def test_formats_that_pyav_reads_are_scanned(form: str, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    suffixes = {f".{suffix}" for suffix in av.format.ContainerFormat(form).extensions}
    assert suffixes - PICTURES <= AUDIO_SUFFIXES


@pytest.mark.parametrize("suffix", ["gsm", "GSM", "mka", "spx", "ape", "m4b", "wma", "opus", "sph", "amr", "awb"])
def test_suffixes_that_people_have(suffix: str, tmp_path: Path) -> None:
    touch(tmp_path, f"1.{suffix}")
    assert names(tmp_path) == [f"1.{suffix}"]


@pytest.mark.parametrize(("form", "codec", "suffix"), [("g722", "g722", "g722"), ("wv", "wavpack", "wv")])
def test_a_format_without_soundfile_is_decoded(form: str, codec: str, suffix: str, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / f"1.{suffix}"
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=16_000)
        stream.layout = "mono"
        samples = (tone(300, 0.5) * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = 16_000
        resampler = av.AudioResampler(stream.codec_context.format, "mono", 16_000, stream.codec_context.frame_size)
        for ready in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(ready))
        container.mux(stream.encode(None))
    assert list_audio(tmp_path) == [path]
    assert len(read_clip(Clip(str(path), path=str(path)), 16_000)) > 7000
