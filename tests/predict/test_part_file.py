"""An output file holds recordings completely or not at all, and a stopped job is resumed or refused."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from earmark.clips.clip import Clip
from earmark.errors import OutputError, UsageError
from earmark.predict.part_file import open_part_file
from earmark.predict.provenance import Provenance

CLIPS = [Clip(source=name, path=name) for name in ("a", "b", "c", "d")]
SETTINGS = {"top_k": 1, "hop_seconds": None}
SOURCES = [clip.source for clip in CLIPS]


class StoppedError(Exception):
    pass


def made_by(model: str = "runs/a", sha256: str = "1" * 64, **settings: object) -> Provenance:
    return Provenance.of_now("predict", model, sha256, {**SETTINGS, **settings})


def opened(path: Path, provenance: Provenance | None = None, sources: list[str] = SOURCES, **how):
    return open_part_file(path, head="head\n", provenance=provenance or made_by(), sources=sources, **how)


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
        assert sink.remaining(CLIPS) == CLIPS
        sink.write("row of a\n")
        sink.finish("a")
        assert not path.exists()
        assert Path(f"{path}.part").read_text() == "head\nrow of a\n"  # streams
        sink.write("half of b")
        sink.drop()
        sink.finish("b", "cut, short")
    assert path.read_text() == "head\nrow of a\n"
    assert Path(f"{path}.bad_audio.csv").read_text() == 'path,reason\nb,"cut, short"\n'
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.csv", "out.csv.bad_audio.csv", "out.csv.earmark.json"]


def test_a_folder_that_does_not_exist_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "out.csv"
    with opened(path) as sink:
        sink.write("row of a\n")
    assert path.read_text() == "head\nrow of a\n"


def test_going_on_cuts_off_what_was_half_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "out.csv"
    stopped_at_c(path)
    assert not path.exists()
    with caplog.at_level("INFO"), opened(path, resume=True) as sink:
        assert [clip.source for clip in sink.remaining(CLIPS)] == ["c", "d"]
        sink.write("row of c\n")
        sink.finish("c")
        sink.finish("d")
    assert "2 finished recordings of 4 are in" in caplog.text
    assert path.read_text() == "head\nrow of a\nrow of c\n"
    assert Path(f"{path}.bad_audio.csv").read_text() == "path,reason\nb,empty file\n"


def test_a_list_that_is_ahead_of_the_rows_or_cut_off_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    stopped_at_c(path)
    Path(f"{path}.part").write_text("head\nrow")  # what a machine that lost its power may leave
    with opened(path, resume=True) as sink:
        assert [clip.source for clip in sink.remaining(CLIPS)] == ["a", "b", "c", "d"]
    assert path.read_text() == "head\n"

    stopped_at_c(tmp_path / "2.csv")
    done = tmp_path / "2.csv.part.done"
    done.write_text(done.read_text()[:-5])
    with opened(tmp_path / "2.csv", resume=True) as sink:
        assert [clip.source for clip in sink.remaining(CLIPS)] == ["b", "c", "d"]


def test_without_resume_the_rows_of_a_stopped_job_are_not_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "out.csv"
    with caplog.at_level("INFO"):
        stopped_at_c(path)
    assert "out.csv.part keeps 2 finished recordings. Add --resume to continue" in caplog.text
    with pytest.raises(OutputError, match="2 finished recordings of a stopped job"), opened(path):
        pass
    assert "row of a" in Path(f"{path}.part").read_text()
    with caplog.at_level("INFO"), opened(path, overwrite=True) as sink:
        assert sink.remaining(CLIPS) == CLIPS
    assert "Discarding" in caplog.text
    assert path.read_text() == "head\n"


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (made_by(top_k=3), "was written with --top_k 1, not --top_k 3"),
        (made_by(hop_seconds=0.5), "with no --hop_seconds, not --hop_seconds 0.5"),
        (made_by(sha256="2" * 64), "with other weights or another configuration of runs/a"),
        (made_by("runs/b", "2" * 64), "with the model runs/a, not runs/b"),
        (made_by(decision="ab12"), "with no decision.json, not a decision.json ab12"),
    ],
)
def test_another_model_or_setting_is_refused_and_named(tmp_path: Path, now: Provenance, said: str) -> None:
    path = tmp_path / "out.csv"
    stopped_at_c(path)
    kept = Path(f"{path}.part").read_bytes()
    with pytest.raises(UsageError, match=said), opened(path, now, resume=True):
        pass
    assert Path(f"{path}.part").read_bytes() == kept
    with opened(path, resume=True) as sink:  # nothing was damaged by the attempt
        assert [clip.source for clip in sink.remaining(CLIPS)] == ["c", "d"]
        for name in ("c", "d"):
            sink.finish(name)
    with pytest.raises(UsageError, match=said), opened(path, now, resume=True):  # the same for the finished output
        pass


def test_a_copy_of_the_model_continues(tmp_path: Path) -> None:
    stopped_at_c(tmp_path / "out.csv")
    with opened(tmp_path / "out.csv", made_by("moved/a"), resume=True) as sink:
        assert [clip.source for clip in sink.remaining(CLIPS)] == ["c", "d"]


def test_another_version_continues_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "out.csv"
    with suppress(StoppedError), opened(path, dataclasses.replace(made_by(), version="0.0.1")) as sink:
        sink.finish("a")
        raise StoppedError
    with caplog.at_level("WARNING"), opened(path, resume=True) as sink:
        assert len(sink.remaining(CLIPS)) == 3
    assert "was started by earmark 0.0.1" in caplog.text


def test_other_recordings_are_not_mixed_in(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    stopped_at_c(path)
    said = "has results for a, which is not one of the recordings"
    with pytest.raises(UsageError, match=said), opened(path, sources=["/abs/a", "/abs/c"], resume=True):
        pass
    with opened(path, sources=["0", *SOURCES], resume=True) as sink:  # new ones are scored as well
        assert [clip.source for clip in sink.remaining([Clip("0"), *CLIPS])] == ["0", "c", "d"]


def test_a_complete_output_has_nothing_to_resume(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "out.csv"
    with opened(path) as sink:
        for name in SOURCES:
            sink.finish(name)
    before = path.stat().st_mtime_ns
    with caplog.at_level("INFO"), opened(path, resume=True) as sink:
        assert sink.remaining(CLIPS) == []
    assert "is complete" in caplog.text
    assert path.stat().st_mtime_ns == before
    with (
        pytest.raises(UsageError, match="is complete for other recordings"),
        opened(path, sources=["a"], resume=True),
    ):
        pass
    record = json.loads(Path(f"{path}.earmark.json").read_text())
    assert record["settings"] == SETTINGS
    assert (record["model"]["sha256"], record["recordings"], record["unreadable"]) == ("1" * 64, 4, 0)


@pytest.mark.parametrize("step", range(4))
def test_a_kill_at_the_very_end_loses_nothing(tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop before each step that completes an output, as a kill would, and resume."""
    path = tmp_path / "out.csv"
    calls = 0

    def stop(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **how: object) -> object:
            nonlocal calls
            calls += 1
            if calls > step:
                raise StoppedError
            return real(*args, **how)

        return call

    with suppress(StoppedError), opened(path) as sink:
        for name in SOURCES:
            sink.write(f"row of {name}\n")
            sink.finish(name)
        monkeypatch.setattr(os, "replace", stop(os.replace))
        monkeypatch.setattr(Path, "unlink", stop(Path.unlink))
    monkeypatch.undo()
    assert calls > step
    with opened(path, resume=True) as sink:
        assert sink.remaining(CLIPS) == []
    assert path.read_text() == "head\n" + "".join(f"row of {name}\n" for name in SOURCES)
    assert json.loads(Path(f"{path}.earmark.json").read_text())["recordings"] == 4
    assert not list(tmp_path.glob("*.part*"))


def test_two_kills_in_a_row_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second kill comes while the list of finished recordings is written again."""
    path = tmp_path / "out.csv"
    stopped_at_c(path)

    def stop(*args: object) -> None:
        raise StoppedError

    monkeypatch.setattr(os, "replace", stop)
    with suppress(StoppedError), opened(path, resume=True):
        pass
    monkeypatch.undo()
    with opened(path, resume=True) as sink:
        assert [clip.source for clip in sink.remaining(CLIPS)] == ["c", "d"]


def test_rows_without_their_list_are_not_thrown_away(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    stopped_at_c(path)
    Path(f"{path}.part.done").unlink()
    with pytest.raises(UsageError, match=r"out\.csv\.part\.done is missing"), opened(path, resume=True):
        pass
    assert "row of a" in Path(f"{path}.part").read_text()


def test_what_is_refused(tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("mine")
    long = "x" * 250 + ".csv"
    for output, message in (
        ("there.csv", "exists already"),
        ("there.csv/a.csv", "cannot be written"),
        ("", "a folder"),
        (long, "the name is too long"),
    ):
        with pytest.raises(OutputError, match=message), opened(tmp_path / output):
            pass
    with (
        pytest.raises(UsageError, match="without a record of the model"),
        opened(tmp_path / "there.csv", resume=True),
    ):
        pass
    for name in (tmp_path / "there.csv", tmp_path / "." / "there.csv"):
        sources = [str(tmp_path / "there.csv")]
        with (
            pytest.raises(OutputError, match="one of the recordings"),
            opened(name, sources=sources, overwrite=True),
        ):
            pass
    assert (tmp_path / "there.csv").read_text() == "mine"
    with opened(tmp_path / "there.csv", overwrite=True) as sink:
        sink.finish("a")
    assert (tmp_path / "there.csv").read_text() == "head\n"


def test_file_names_that_are_not_utf8(tmp_path: Path) -> None:
    path, name = tmp_path / "out.csv", os.fsdecode(b"caf\xe9.wav")
    with suppress(StoppedError), opened(path) as sink:
        sink.finish("a")
        sink.write(f"{name}\n")
        sink.finish(name, "empty file")
        raise StoppedError
    with opened(path, sources=["a", name], resume=True) as sink:
        assert sink.remaining([Clip(source="a"), Clip(source=name)]) == []
    assert path.read_bytes() == b"head\ncaf\xe9.wav\n"
    assert b"caf\xe9.wav" in Path(f"{path}.bad_audio.csv").read_bytes()


def test_an_error_of_the_caller_is_not_blamed_on_the_output(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), opened(tmp_path / "a.csv"):
        raise FileNotFoundError("a model file")
