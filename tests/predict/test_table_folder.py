"""A folder of tables: each complete or absent, none lost to another job, none kept that other settings made."""

from __future__ import annotations

import errno
import json
import os
from contextlib import suppress
from pathlib import Path

import pytest

from earmark.clips.clip import Clip
from earmark.errors import OutputError, UsageError
from earmark.predict.provenance import Provenance
from earmark.predict.table_folder import open_table_folder

SOURCES = ["/d/in/a.wav", "/d/b.wav", "/d/c.wav"]
CLIPS = [Clip(source=name, path=name) for name in SOURCES]


class StoppedError(Exception):
    pass


def made_by(sha256: str = "1" * 64, **settings: object) -> Provenance:
    return Provenance.of_now("predict", "runs/a", sha256, {"threshold": 0.5, **settings})


def opened(folder: Path, provenance: Provenance | None = None, sources: list[str] = SOURCES, **how):
    how = {"inputs": ["/d"], "sources": sources, "ending": ".txt", "head": "head\n"} | how
    return open_table_folder(folder, provenance=provenance or made_by(), **how)


def write(sink, *sources: str, row: str = "row") -> None:
    for source in sources:
        sink.write(f"{row} of {source}\n")
        assert sink.finish(source) is None


def left(sink) -> list[str]:
    return [clip.source for clip in sink.remaining(CLIPS)]


def test_a_file_for_each_recording(tmp_path: Path) -> None:
    with opened(tmp_path / "out") as sink:
        write(sink, SOURCES[0])
        sink.write("half of b\n")
        sink.drop()
        sink.finish(SOURCES[1], "cut, short")
    assert (tmp_path / "out/in/a.wav.txt").read_text() == "head\nrow of /d/in/a.wav\n"
    assert (tmp_path / "out/bad_audio.csv").read_text() == 'path,reason\n/d/b.wav,"cut, short"\n'
    lines = [json.loads(line) for line in (tmp_path / "out/earmark.jsonl").read_text().splitlines()]
    assert lines[0]["settings"] == {"threshold": 0.5}
    assert (lines[1]["file"], lines[1]["job"]) == ("in/a.wav.txt", lines[0]["job"])
    with opened(tmp_path / "out", resume=True) as sink:
        assert left(sink) == SOURCES[1:]
    said = r"a\.wav\.txt: exists already and holds the results for /d/in/a\.wav"
    with pytest.raises(OutputError, match=said), opened(tmp_path / "out"):
        pass


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (made_by(threshold=0.9), "was written with --threshold 0.5, not --threshold 0.9"),
        (made_by("2" * 64), "was written with other weights"),
    ],
)
def test_tables_of_other_settings_are_refused_or_written_again(tmp_path: Path, now: Provenance, said: str) -> None:
    with opened(tmp_path) as sink:
        write(sink, *SOURCES[:2])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=said), opened(tmp_path, now, resume=True):
        pass
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    with suppress(StoppedError), opened(tmp_path, now, resume=True, overwrite=True) as sink:
        assert left(sink) == SOURCES
        write(sink, SOURCES[0], row="new")
        raise StoppedError
    with opened(tmp_path, now, resume=True, overwrite=True) as sink:  # b still has the table of the first job
        assert left(sink) == SOURCES[1:]
    assert (tmp_path / "in/a.wav.txt").read_text() == "head\nnew of /d/in/a.wav\n"


def test_a_second_folder_keeps_the_tables_of_the_first(tmp_path: Path) -> None:
    with opened(tmp_path, sources=["/x/rec.wav"], inputs=["/x"]) as sink:
        write(sink, "/x/rec.wav")
        sink.finish("/x/bad.wav", "empty")
    said = r"holds the results for /x/rec\.wav"
    with pytest.raises(OutputError, match=said), opened(tmp_path, sources=["/y/rec.wav"], inputs=["/y"]):
        pass
    with opened(tmp_path, sources=["/y/rec.wav"], inputs=["/y"], resume=True) as sink:
        write(sink, "/y/rec.wav")
    tables = sorted(path.read_text().split()[-1] for path in tmp_path.glob("*.txt"))
    assert tables == ["/x/rec.wav", "/y/rec.wav"]
    assert "/x/bad.wav" in (tmp_path / "bad_audio.csv").read_text()  # the list of the first job stays


def test_tables_of_others_are_neither_lost_nor_taken_for_results(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "b.wav.txt").write_text("made by hand")
    for how in ({}, {"resume": True}):
        with pytest.raises(OutputError, match=r"b\.wav\.txt: exists already"), opened(tmp_path, **how):
            pass
    (tmp_path / "b.wav.txt").unlink()
    with opened(tmp_path) as sink:
        write(sink, *SOURCES)
    (tmp_path / "b.wav.txt").write_text("head\ncorrected by hand\n")
    (tmp_path / "c.wav.txt").write_text("")  # a machine that lost its power
    with caplog.at_level("WARNING"), opened(tmp_path, resume=True) as sink:
        assert left(sink) == SOURCES[2:]
        write(sink, *SOURCES[2:])
    assert "1 table changed since earmark wrote them (b.wav.txt)" in caplog.text
    assert "by hand" in (tmp_path / "b.wav.txt").read_text()


@pytest.mark.parametrize("step", range(6))
def test_a_kill_at_any_step_of_a_table_loses_nothing(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stop at each write, as a kill would, then resume: all tables are there, whole."""
    real, calls = os.replace, 0

    def replace(*args: object) -> None:
        nonlocal calls
        calls += 1
        if calls == step // 2 + 1:
            if step % 2:
                real(*args)
            raise StoppedError
        real(*args)

    monkeypatch.setattr(os, "replace", replace)
    with suppress(StoppedError), opened(tmp_path) as sink:
        write(sink, *SOURCES)
    monkeypatch.undo()
    journal = tmp_path / "earmark.jsonl"
    if step % 2 == 0:  # its table is not there yet, and the line may be cut off
        journal.write_bytes(journal.read_bytes()[: -1 - 7 * (step % 3)])
    with opened(tmp_path, resume=True) as sink:
        assert left(sink) == SOURCES[calls - 1 + step % 2 :]
        write(sink, *left(sink))
    for source, name in zip(SOURCES, ("in/a.wav.txt", "b.wav.txt", "c.wav.txt"), strict=True):
        assert (tmp_path / name).read_text() == f"head\nrow of {source}\n"
    assert not list(tmp_path.rglob("*.part"))


def test_one_table_that_cannot_be_written_stops_no_other(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/in").write_text("a file where a folder has to be")
    with opened(tmp_path / "out") as sink:
        sink.write("row\n")
        error = sink.finish(SOURCES[0])
        write(sink, *SOURCES[1:])
    assert "a.wav.txt: cannot be written" in str(error)
    assert "its table cannot be written" in (tmp_path / "out/bad_audio.csv").read_text()
    assert (tmp_path / "out/c.wav.txt").read_text() == "head\nrow of /d/c.wav\n"


def test_a_full_disk_stops_the_job_and_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if b"b.wav" in data:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    said = r"b\.wav\.txt: cannot be written .*Resume with --resume"
    with pytest.raises(OutputError, match=said), opened(tmp_path) as sink:
        write(sink, *SOURCES)
    monkeypatch.undo()
    with opened(tmp_path, resume=True) as sink:
        assert left(sink) == SOURCES[1:]
