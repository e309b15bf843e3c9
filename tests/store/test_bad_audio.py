"""Recordings that cannot be used are reported as they are met, and reading stops early if they are an error."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import soundfile

from earmark.clips.clip import Clip, ClipTable
from earmark.errors import DataError
from earmark.settings.data_flags import DataArguments
from earmark.store import bad_audio, scan
from earmark.store.bad_audio import MOST_BAD, BadAudioWatch
from earmark.store.known_contents import read_contents
from earmark.store.usable import keep_usable
from tests.tiny import RATE_HZ, tone

COUNT = 400


@pytest.fixture
def recordings(tmp_path: Path) -> ClipTable:
    clips = []
    for i in range(COUNT):
        path = tmp_path / f"{i:03d}.wav"
        soundfile.write(path, tone(300, 0.05, seed=i), RATE_HZ)
        clips.append(Clip(source=path.name, path=str(path), label="ab"[i % 2]))
    return ClipTable(clips, "data")


def damage(table: ClipTable, *rows: int) -> None:
    """Give recordings samples that are no numbers: they open, and fail when they are decoded."""
    for row in rows:
        wave = tone(300, 0.05)
        wave[400] = float("nan")
        soundfile.write(str(table[row].path), wave, RATE_HZ, subtype="FLOAT")


def options(tmp_path: Path, store: str = "int16", on_bad_audio: str = "fail") -> DataArguments:
    return DataArguments(
        store=store, store_dir=str(tmp_path / "stores"), on_bad_audio=on_bad_audio, preprocessing_num_workers=2
    )


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "_CHUNK", 8)
    monkeypatch.setattr("earmark.store.store_build._CHUNK", 8)


@pytest.mark.parametrize("store", ["int16", "off"])
@pytest.mark.usefixtures("small_chunks")
def test_reading_stops_after_many_bad_recordings(store: str, recordings: ClipTable, tmp_path: Path) -> None:
    damage(recordings, *range(10, 10 + 3 * MOST_BAD))
    with pytest.raises(DataError) as caught:
        keep_usable({"train": recordings}, RATE_HZ, options(tmp_path, store))
    head, *listed = str(caught.value).splitlines()
    assert "cannot be used. Fix or remove them, or leave them out with --on_bad_audio skip. Reading stopped" in head
    assert MOST_BAD <= len(listed) <= MOST_BAD + 8
    stopped_after = int(head.split("stopped after ")[1].split(" of")[0])
    assert stopped_after < 50
    assert f"of {COUNT} clips, so there may be more" in head


@pytest.mark.parametrize("store", ["int16", "off"])
@pytest.mark.usefixtures("small_chunks")
def test_reading_stops_some_time_after_the_first(
    store: str, recordings: ClipTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bad_audio, "LONGEST_AFTER_S", 2.0)  # 40 clips
    damage(recordings, 3, 20, 390)
    with pytest.raises(DataError, match=r"^2 recordings cannot be used.*Reading stopped after (48|56) of 400 clips"):
        keep_usable({"train": recordings}, RATE_HZ, options(tmp_path, store))


def test_a_stopped_build_is_taken_up(
    recordings: ClipTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bad_audio, "LONGEST_AFTER_S", 0.1)
    damage(recordings, 3)
    with pytest.raises(DataError, match="Reading stopped after 64 of 400 clips"):
        keep_usable({"train": recordings}, RATE_HZ, options(tmp_path))
    with caplog.at_level(logging.INFO):
        usable, bad = keep_usable({"train": recordings}, RATE_HZ, options(tmp_path, on_bad_audio="skip"))
    assert "data: 64 of 400 clips were already stored by a build that was stopped" in caplog.messages
    assert (len(usable["train"].table), [clip.index for _, clip in bad]) == (COUNT - 1, [3])


def test_all_that_cannot_be_opened_are_listed_before_decoding(
    recordings: ClipTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bad_audio, "OPENED_FIRST_BYTES", 1)
    monkeypatch.setattr("earmark.store.store_build.read_clip_and_content", lambda *_: pytest.fail("decoded"))
    rows = [5, 100, 250, 399]
    Path(str(recordings[5].path)).unlink()
    Path(str(recordings[100].path)).write_bytes(b"")
    Path(str(recordings[250].path)).write_bytes(b"no sound in this file" * 9)
    Path(str(recordings[399].path)).write_bytes(b"RIFF")
    parts = {"train": recordings.keep(range(300)), "test": recordings.keep(range(300, COUNT))}
    for store in ("int16", "off"):
        with pytest.raises(DataError) as caught:
            keep_usable(parts, RATE_HZ, options(tmp_path, store))
        head, *listed = str(caught.value).splitlines()
        assert head.startswith("4 recordings cannot be used. Fix or remove them")
        assert [line.split(":")[0].strip() for line in listed] == [recordings[row].source for row in rows]


def test_nothing_is_opened_twice_for_skip(recordings: ClipTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bad_audio, "OPENED_FIRST_BYTES", 1)
    monkeypatch.setattr(bad_audio, "own_rate_hz", lambda _: pytest.fail("opened"))
    BadAudioWatch("skip", [recordings]).before_decoding(2)


def test_the_first_bad_recordings_are_reported_as_they_are_met(
    recordings: ClipTable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damage(recordings, *range(7))
    with caplog.at_level(logging.INFO):
        keep_usable({"train": recordings}, RATE_HZ, options(tmp_path, on_bad_audio="skip"))
    met = [line for line in caplog.messages if "cannot be used: " in line]
    assert [line.split(":")[0] for line in met] == [f"00{i}.wav" for i in range(5)]
    assert "more unusable recordings are listed at the end" in caplog.messages
    summary = next(line for line in caplog.messages if line.startswith("ignoring 7 recordings"))
    assert caplog.messages.index(met[0]) < caplog.messages.index(summary)


@pytest.mark.usefixtures("small_chunks")
def test_comparing_contents_stops_too(recordings: ClipTable) -> None:
    damage(recordings, *range(60))
    with pytest.raises(DataError, match="Reading stopped after"):
        read_contents(recordings, num_threads=2, watch=BadAudioWatch("fail", [recordings]))
    _, bad = read_contents(recordings, num_threads=2, watch=BadAudioWatch("skip", [recordings]))
    assert len(bad) == 60


def test_large_recordings_are_read_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "long.wav").touch()
    with (tmp_path / "long.wav").open("wb") as file:
        file.truncate(1 << 28)
    long = Clip(source="long", path=str(tmp_path / "long.wav"))
    assert scan.clips_per_chunk([long] * 10) == 1
    assert scan.clips_per_chunk([Clip(source="gone", path="gone.wav")] * 10) == 64
