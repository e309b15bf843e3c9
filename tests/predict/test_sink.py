"""Where rows go: recordings whole or not at all, and going on after a stop."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from earmark.data.clips import Clip
from earmark.errors import OutputError, UsageError
from earmark.predict.sink import FolderSink, open_sink

CLIPS = [Clip(source=name, path=name) for name in ("a", "b", "c", "d")]
SETTINGS = {"top_k": 1, "hop_seconds": None}


class StoppedError(Exception):
    pass


def opened(path: Path, **how):
    return open_sink(str(path), head="head\n", settings=how.pop("settings", SETTINGS), **how)


def stopped_at_c(path: Path) -> None:
    with suppress(StoppedError), opened(path) as sink:
        sink.write("row of a\n")
        sink.finish("a")
        sink.finish("b", "empty file")
        sink.write("half of c")
        raise StoppedError


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with opened(path) as sink:
        assert sink.left_of(CLIPS) == CLIPS
        sink.write("row of a\n")
        sink.finish("a")
        assert not path.exists()
        assert Path(f"{path}.part").read_text() == "head\nrow of a\n"  # streams
        sink.write("half of b")
        sink.drop()
        sink.finish("b", "cut, short")
    assert path.read_text() == "head\nrow of a\n"
    assert Path(f"{path}.bad_audio.csv").read_text() == 'path,reason\nb,"cut, short"\n'
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.csv", "out.csv.bad_audio.csv"]


def test_going_on_cuts_off_what_was_half_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "out.csv"
    stopped_at_c(path)
    assert not path.exists()
    with caplog.at_level("INFO"), opened(path, resume=True) as sink:
        assert [clip.source for clip in sink.left_of(CLIPS)] == ["c", "d"]
        sink.write("row of c\n")
        sink.finish("c")
        sink.finish("d")
    assert "2 recordings done" in caplog.text
    assert path.read_text() == "head\nrow of a\nrow of c\n"
    assert Path(f"{path}.bad_audio.csv").read_text() == "path,reason\nb,empty file\n"


def test_a_list_that_is_ahead_of_the_rows_or_cut_off_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    stopped_at_c(path)
    Path(f"{path}.part").write_text("head\nrow")  # what a machine that lost its power may leave
    with opened(path, resume=True) as sink:
        assert [clip.source for clip in sink.left_of(CLIPS)] == ["a", "b", "c", "d"]
    assert path.read_text() == "head\n"

    stopped_at_c(tmp_path / "2.csv")
    done = tmp_path / "2.csv.part.done"
    done.write_text(done.read_text()[:-5])
    with opened(tmp_path / "2.csv", resume=True) as sink:
        assert [clip.source for clip in sink.left_of(CLIPS)] == ["b", "c", "d"]


def test_without_resume_a_job_begins_again_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "out.csv"
    stopped_at_c(path)
    with caplog.at_level("INFO"), opened(path) as sink:
        assert sink.left_of(CLIPS) == CLIPS
    assert "--resume goes on with it" in caplog.text
    assert path.read_text() == "head\n"


def test_other_settings_do_not_go_on(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    stopped_at_c(path)
    said = "was begun with top_k 1, not 3"
    with pytest.raises(UsageError, match=said), opened(path, resume=True, settings={**SETTINGS, "top_k": 3}):
        pass
    assert "row of a" in Path(f"{path}.part").read_text()


def test_what_is_refused(tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("mine")
    for output, message in (("there.csv", "exists already"), ("none/a.csv", "cannot be written"), ("", "a folder")):
        with pytest.raises(OutputError, match=message), opened(tmp_path / output):
            pass
    with pytest.raises(OutputError, match="it is complete"), opened(tmp_path / "there.csv", resume=True):
        pass
    assert (tmp_path / "there.csv").read_text() == "mine"
    with opened(tmp_path / "there.csv", overwrite=True) as sink:
        sink.finish("a")
    assert (tmp_path / "there.csv").read_text() == "head\n"
    with pytest.raises(UsageError, match="standard output"), open_sink(None, head="", settings={}, resume=True):
        pass


def test_file_names_that_are_not_utf8(tmp_path: Path) -> None:
    path, name = tmp_path / "out.csv", os.fsdecode(b"caf\xe9.wav")
    with suppress(StoppedError), opened(path) as sink:
        sink.write(f"{name}\n")
        sink.finish(name, "empty file")
        raise StoppedError
    with opened(path, resume=True) as sink:
        assert sink.left_of([Clip(source=name)]) == []
    assert path.read_bytes() == b"head\ncaf\xe9.wav\n"
    assert b"caf\xe9.wav" in Path(f"{path}.bad_audio.csv").read_bytes()


def test_an_error_of_the_caller_is_not_blamed_on_the_output(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), opened(tmp_path / "a.csv"):
        raise FileNotFoundError("a model file")


def test_a_file_for_each_recording(tmp_path: Path) -> None:
    names = {"a": "in/a.txt", "b": "b.txt", "c": "c.txt"}
    sink = FolderSink(tmp_path / "out", names, "head\n", overwrite=False, resume=False)
    sink.write("row of a\n")
    sink.finish("a")
    sink.write("half of b\n")
    sink.drop()
    sink.finish("b", "cut short")
    assert (tmp_path / "out" / "in" / "a.txt").read_text() == "head\nrow of a\n"
    assert (tmp_path / "out" / "bad_audio.csv").read_text() == "path,reason\nb,cut short\n"
    again = FolderSink(tmp_path / "out", names, "head\n", overwrite=False, resume=True)
    assert [clip.source for clip in again.left_of(CLIPS[:3])] == ["b", "c"]
    with pytest.raises(OutputError, match=r"a\.txt: exists already"):
        FolderSink(tmp_path / "out", names, "", overwrite=False, resume=False)
