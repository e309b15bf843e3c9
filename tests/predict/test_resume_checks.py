"""A resumed job: one job per output, replaced recordings, unreadable recordings, versions, and jobs without results."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import soundfile

from earmark.cli.main import main
from earmark.clips.clip import Clip
from earmark.errors import OutputError, UsageError
from earmark.predict.part_file import open_part_file
from earmark.predict.provenance import Provenance
from earmark.predict.table_folder import open_table_folder
from tests.tiny import RATE_HZ, save_model, tone

OPEN = """
import sys
from pathlib import Path
from earmark.predict.part_file import open_part_file
from earmark.predict.provenance import Provenance
from earmark.predict.table_folder import open_table_folder
kind, path, *sources = sys.argv[1:]
how = {"head": "", "provenance": Provenance.of_now("predict", "m", "0" * 64, {}), "sources": sources}
how |= {} if kind == "file" else {"inputs": sources, "ending": ".txt"}
with (open_part_file if kind == "file" else open_table_folder)(Path(path), **how) as sink:
    sink.write("first\\n")
    sink.finish(sources[0])
    print("open", flush=True)
    sys.stdin.read()
"""


class StoppedError(Exception):
    pass


def made_by(version: str | None = None) -> Provenance:
    made = Provenance.of_now("predict", "m", "0" * 64, {})
    return made if version is None else dataclasses.replace(made, version=version)


def opened(kind: str, path: Path, sources: list[str], version: str | None = None, **how):
    how = {"head": "", "provenance": made_by(version), "sources": sources} | how
    if kind == "file":
        return open_part_file(path, **how)
    return open_table_folder(path, inputs=sources, ending=".txt", **how)


def remaining(sink, sources: list[str]) -> list[str]:
    return [clip.source for clip in sink.remaining([Clip(source=name, path=name) for name in sources])]


@contextmanager
def another_job(kind: str, path: Path, sources: list[str]) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    words = [sys.executable, "-c", OPEN, kind, str(path), *sources]
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            assert process.stdout.readline() == "open\n"
            yield process
        finally:
            process.stdin.close()


@pytest.fixture
def sources(tmp_path: Path) -> list[str]:
    names = [str(tmp_path / "in" / name) for name in ("a.wav", "b.wav", "c.wav")]
    (tmp_path / "in").mkdir()
    for name in names:
        Path(name).write_bytes(b"sound")
    return names


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_second_job_is_refused_until_the_first_has_ended(kind: str, sources: list[str], tmp_path: Path) -> None:
    output = tmp_path / "out"
    with another_job(kind, output, sources) as process:
        refused = f"^{output}: process {process.pid} on .* is writing it. Wait for that job, or choose another {kind}$"
        for how in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(OutputError, match=refused), opened(kind, output, sources, **how):
                pass
        process.kill()
        process.wait()
        with opened(kind, output, sources, resume=True) as sink:
            assert remaining(sink, sources) == sources[1:]
            sink.write("second\n")
            sink.finish(sources[1])
    text = output.read_text() if kind == "file" else "".join(sorted(f.read_text() for f in output.glob("*.txt")))
    assert text == "first\nsecond\n"
    assert not [path.name for path in tmp_path.rglob("*") if "lock" in path.name or ".part" in path.name]


def test_two_jobs_in_a_folder_without_locks_do_not_mix_their_tables(
    sources: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has temporary names of its own."""
    parts: list[str] = []
    real = Path.write_bytes

    def noted(path: Path, data: bytes) -> int:
        parts.append(path.name)
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", noted)
    for source in sources[:2]:
        with opened("folder", tmp_path / "out", [source], resume=True) as sink:
            sink.finish(source)
    assert len(set(parts)) == 2


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_replaced_recording_does_not_keep_its_old_result(kind: str, sources: list[str], tmp_path: Path) -> None:
    output = tmp_path / "out"
    with suppress(StoppedError), opened(kind, output, sources) as sink:
        sink.finish(sources[0])
        sink.finish(sources[1], "damaged")
        raise StoppedError
    Path(sources[1]).write_bytes(b"repaired sound")  # an unreadable one has no result
    with suppress(StoppedError), opened(kind, output, sources, resume=True) as sink:
        assert remaining(sink, sources)[-1] == sources[2]
        raise StoppedError
    Path(sources[0]).write_bytes(b"other sound")
    if kind == "folder":
        with opened(kind, output, sources, resume=True) as sink:
            assert remaining(sink, sources) == sources
        return
    refused = f"--resume: {re.escape(sources[0])} has changed since"
    with pytest.raises(UsageError, match=refused), opened(kind, output, sources, resume=True):
        pass


def test_a_complete_file_is_refused_if_a_recording_was_replaced(sources: list[str], tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    with opened("file", output, sources) as sink:
        for source in sources:
            sink.finish(source)
    with opened("file", output, sources, resume=True) as sink:
        assert sink.is_complete
    Path(sources[2]).write_bytes(b"other sound")
    os.utime(sources[2], ns=(2**61, 2**61))
    with (
        pytest.raises(UsageError, match=rf"is complete, and {re.escape(sources[2])} has changed"),
        opened("file", output, sources, resume=True),
    ):
        pass


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_one_warning_of_the_version_and_none_for_a_finished_output(
    kind: str, sources: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "out"
    with suppress(StoppedError), opened(kind, output, sources, "0.0.1") as sink:
        for source in sources[:2]:
            sink.finish(source)
        raise StoppedError
    with opened(kind, output, sources, resume=True) as sink:
        sink.finish(sources[2])
    assert caplog.text.count("was started by earmark 0.0.1") == 1
    caplog.clear()
    with opened(kind, output, sources, "9.9.9", resume=True) as sink:
        assert remaining(sink, sources) == []
    assert "was started by" not in caplog.text


def test_rows_that_are_gone_are_not_promised(sources: list[str], tmp_path: Path) -> None:
    with suppress(StoppedError), opened("file", tmp_path / "out.csv", sources) as sink:
        sink.finish(sources[0])
        assert "Add --resume to continue" in sink.hint
        (tmp_path / "out.csv.part").unlink()
        assert sink.hint == ""
        raise StoppedError


def test_rows_that_have_their_name_are_not_promised_as_a_part(
    sources: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("earmark.predict.part_file.write_record", full)
    said = r"out\.csv: cannot be written \(No space left on device\)$"
    with pytest.raises(OutputError, match=said), opened("file", tmp_path / "out.csv", sources) as sink:
        sink.finish(sources[0])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"), 0.5)


def run(command: str, model: Path, *words: object) -> int:
    return main([command, str(model), *map(str, words), "--device", "cpu"])


@pytest.mark.parametrize(("command", "name"), [("predict", "o.csv"), ("predict", "o.txt"), ("embed", "o.npy")])
def test_a_job_without_results_does_not_block_the_next(
    command: str, name: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tape, output = tmp_path / "a.wav", tmp_path / name
    tape.write_bytes(b"RIFF broken")
    format = ["--format", "audacity"] if name == "o.txt" else []
    assert run(command, model, tape, "--output", output, *format) == 2
    assert "the recording could not be read" in capsys.readouterr().err
    assert not list(tmp_path.glob(f"{name}.part*"))
    assert not output.exists()
    soundfile.write(tape, tone(300, 0.6), RATE_HZ)
    assert run(command, model, tape, "--output", output, *format) == 0
    assert output.exists()


def test_unreadable_recordings_of_an_earlier_job_are_reported(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad, output = tmp_path / "a.wav", tmp_path / "b.wav", tmp_path / "o.csv"
    soundfile.write(good, tone(300, 0.6), RATE_HZ)
    bad.write_bytes(b"RIFF broken")
    assert run("predict", model, good, bad, "--output", output) == 0
    capsys.readouterr()
    assert run("predict", model, good, bad, "--output", output, "--resume") == 0
    err = capsys.readouterr().err
    assert "No recording was left to read. An earlier job finished 1 recording and could not read 1." in err
    assert "--resume does not retry the 1 recording that the earlier job could not read" in err


def test_lock_files_of_a_job_that_was_killed_after_it_had_finished(tmp_path: Path) -> None:
    recording, output = str(tmp_path / "a.wav"), tmp_path / "out.csv"
    soundfile.write(recording, tone(440, 0.5), RATE_HZ)
    with opened("file", output, [recording]) as sink:
        sink.write("row\n")
        sink.finish(recording)
    for ending in (".lock", ".txt"):
        Path(f"{output}.part{ending}").write_text("process 1 on another machine\n")
    with opened("file", output, [recording], resume=True) as sink:
        assert remaining(sink, [recording]) == []
    assert not list(tmp_path.glob("out.csv.part*"))
