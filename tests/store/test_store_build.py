"""Building the waveform store: once, whole or not at all, by one process, as long as the recordings stay the same."""

from __future__ import annotations

import json
import logging
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from earmark.audio.decode import read_clip
from earmark.clips.clip import Clip, ClipTable
from earmark.errors import OutputError
from earmark.store import store_build, store_writer
from earmark.store.store_build import open_or_build
from earmark.store.waveforms import FORMAT_VERSION, WaveformStore
from tests.tiny import RATE_HZ, tone


def content(store: WaveformStore) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.folder.iterdir()}


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("earmark")]


def run(code: str, *given: object) -> subprocess.CompletedProcess[bytes]:
    """Run Python code that finds ``given`` in the variable of that name."""
    start = "import pickle, sys; given = pickle.load(sys.stdin.buffer)\n"
    return subprocess.run([sys.executable, "-c", start + code], input=pickle.dumps(given), capture_output=True)


def test_every_clip_is_stored_in_order_and_told_of(recordings, root, caplog):
    seen: list[tuple[int, int]] = []
    with caplog.at_level(logging.INFO):
        store = open_or_build(
            recordings, RATE_HZ, root=root, num_workers=3, progress=lambda done, total: seen.append((done, total))
        )
    assert [clip.index for clip in store.bad] == [7, 270]
    assert [clip.source for clip in store.bad] == ["7.wav", "270.wav"]
    assert "empty" in store.bad[0].reason
    for i in (0, 1, 6, 8, 128, 449, 451, 499):
        wanted = read_clip(recordings[i], RATE_HZ)
        np.testing.assert_allclose(store.read(i), wanted, atol=np.abs(wanted).max() / 60_000)
    assert seen[-1] == (500, 500)
    assert len(seen) > 3
    assert seen == sorted(seen)
    seconds = round(store.durations_s.sum())
    assert messages(caplog) == [
        f"data: decoded 500 clips (2 cannot be used), {seconds} s of audio, {store.num_bytes / 1000:.1f} kB, "
        f"into {store.folder}"
    ]
    assert sorted(path.name for path in root.iterdir()) == [store.folder.name, f"{store.folder.name}.lock"]
    tables = ["bad.json", "contents.npy", "num_samples.npy", "samples.bin", "scales.npy", "store.json"]
    assert sorted(content(store)) == tables
    assert json.loads((store.folder / "store.json").read_text())["origin"] == "data"


def test_an_existing_store_is_used_without_decoding(recordings, root, caplog, monkeypatch):
    first = open_or_build(recordings, RATE_HZ, root=root)
    decoded = []

    def watched(read: Callable[[Clip, int], Any]) -> Callable[[Clip, int], Any]:
        return lambda clip, rate_hz: (decoded.append(clip), read(clip, rate_hz))[1]

    for name in ("read_clip", "read_clip_and_content"):
        monkeypatch.setattr(store_build, name, watched(getattr(store_build, name)))
    seen: list[tuple[int, int]] = []
    relabelled = ClipTable([replace(clip, label="x", group="g") for clip in recordings], "again")
    caplog.clear()
    with caplog.at_level(logging.INFO):
        second = open_or_build(relabelled, RATE_HZ, root=root, progress=lambda *done: seen.append(done))
    assert messages(caplog) == [f"again: using samples decoded by an earlier run ({first.folder})"]
    assert seen == [(500, 500)]
    assert [clip.source for clip in decoded] == ["7.wav", "270.wav"]  # tried again, nothing else
    assert second.bad == first.bad
    np.testing.assert_array_equal(second.read(1), first.read(1))


def test_long_clips_are_written_a_few_at_a_time(recordings, root, tmp_path, monkeypatch):
    whole = content(open_or_build(recordings, RATE_HZ, root=root))
    monkeypatch.setattr(store_build, "_CHUNK_BYTES", 2000)
    again = open_or_build(recordings, RATE_HZ, root=tmp_path / "other", num_workers=3)
    assert content(again) == whole


def test_no_clips(root):
    store = open_or_build(ClipTable([], "nothing"), RATE_HZ, root=root)
    assert len(store) == 0
    assert len(open_or_build(ClipTable([], "nothing"), RATE_HZ, root=root)) == 0


# stores that are no good


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size - 1)


def flip(name: str) -> Callable[[Path], None]:
    def flipped(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[-1] ^= 1
        (folder / name).write_bytes(data)

    return flipped


def edit(**changed: object) -> Callable[[Path], None]:
    def edited(folder: Path) -> None:
        header = json.loads((folder / "store.json").read_text())
        (folder / "store.json").write_text(json.dumps(header | changed))

    return edited


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut("samples.bin"), r"samples\.bin: is truncated \(\d+ of \d+ bytes\)"),
        (lambda folder: (folder / "samples.bin").unlink(), r"samples\.bin: cannot be read \(No such file"),
        (cut("num_samples.npy"), r"num_samples\.npy: is damaged"),
        (flip("scales.npy"), r"scales\.npy: is damaged"),
        (flip("bad.json"), r"bad\.json: is damaged"),
        (cut("store.json"), r"store\.json: is damaged"),
        (edit(sha256={}), r"store\.json: is damaged"),
        (lambda folder: (folder / "store.json").unlink(), r"store\.json: cannot be read \(No such file"),
        (flip("contents.npy"), r"contents\.npy: is damaged"),
        (edit(version=0), rf"has format 0 instead of {FORMAT_VERSION}"),
        (edit(key="0" * 64), r"was built from other recordings"),
    ],
)  # fmt: skip
def test_a_damaged_store_is_built_again(damage, said, recordings, root, caplog):
    table = recordings.keep(range(20))
    whole = content(store := open_or_build(table, RATE_HZ, root=root))
    damage(store.folder)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        repaired = open_or_build(table, RATE_HZ, root=root)
    assert content(repaired) == whole
    assert len(messages(caplog)) == 1
    assert caplog.messages[0].endswith(". Building the store again")
    assert re.search(said, caplog.messages[0])


def test_a_recording_that_can_be_read_now_is_taken_in(tmp_path, root, caplog, monkeypatch):
    av = pytest.importorskip("av")
    path = tmp_path / "a.mp4"
    with av.open(path, "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=RATE_HZ)
        frame = av.AudioFrame.from_ndarray(tone(300, 0.5)[None, :], format="fltp", layout="mono")
        frame.sample_rate = RATE_HZ
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)
    table = ClipTable([Clip(source="a.mp4", path=str(path))], "x")
    with monkeypatch.context() as without_pyav:
        without_pyav.setitem(sys.modules, "av", None)
        assert "pip install" in open_or_build(table, RATE_HZ, root=root).bad[0].reason
    store = open_or_build(table, RATE_HZ, root=root)
    assert store.bad == []
    assert store.durations_s[0] == pytest.approx(0.5, abs=0.1)
    assert "does not contain a.mp4, which can be read now. Building the store again" in caplog.text


# builds that were stopped

KILLED = """
import os, signal
from earmark.store import store_build, store_writer
store_writer._FLUSH_BYTES = 20_000
table, root = given
store_build.open_or_build(
    table, 16_000, root=root, progress=lambda done, total: done >= 300 and os.kill(os.getpid(), signal.SIGKILL)
)
"""


def test_a_killed_build_is_gone_on_with(recordings, root, tmp_path, caplog):
    assert run(KILLED, recordings, root).returncode == -9
    building = next(root.glob("*.building"))
    assert not building.with_suffix("").exists()
    with (building / "samples.bin").open("ab") as samples, (building / "journal.jsonl").open("ab") as journal:
        samples.write(b"\x55" * 999_999)  # what was on its way when the process died
        journal.write(b'{"num_samples": [16' + b"0" * 99_999)
    seen: list[int] = []
    with caplog.at_level(logging.INFO):
        store = open_or_build(recordings, RATE_HZ, root=root, progress=lambda done, total: seen.append(done))
    assert 128 <= seen[0] <= 320
    assert messages(caplog)[0] == f"data: {seen[0]} of 500 clips were already stored by a build that was stopped"
    assert content(store) == content(open_or_build(recordings, RATE_HZ, root=tmp_path / "other"))
    assert not building.exists()


def last_line(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """What Ctrl-C between two statements could leave: a line of the journal that is not at one with itself."""

    def changed(building: Path) -> None:
        *lines, last = (building / "journal.jsonl").read_text().splitlines()
        record = json.loads(last)
        change(record)
        (building / "journal.jsonl").write_text("\n".join([*lines, json.dumps(record)]) + "\n")

    return changed


@pytest.mark.parametrize(
    "damage",
    [
        last_line(lambda record: record["num_samples"].pop()),
        last_line(lambda record: record["scales"].pop()),
        last_line(lambda record: record["bad"].pop()),
        last_line(lambda record: record.update(bytes=record["bytes"] - 2)),
        cut("samples.bin"),
        lambda building: os.truncate(building / "samples.bin", 100),
        lambda building: os.truncate(building / "journal.jsonl", 300),
        lambda building: (building / "journal.jsonl").write_bytes(b"\0" * 500),
        lambda building: (building / "journal.jsonl").write_bytes(b'{"version": 0}\n'),
        lambda building: (building / "samples.bin").unlink(),
    ],
)
def test_a_half_built_store_is_trusted_as_far_as_it_is_whole(damage, recordings, root, tmp_path, monkeypatch):
    monkeypatch.setattr(store_writer, "_FLUSH_BYTES", 20_000)

    def stop(done: int, total: int) -> None:
        if done >= 300:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        open_or_build(recordings, RATE_HZ, root=root, progress=stop)
    damage(next(root.glob("*.building")))
    store = open_or_build(recordings, RATE_HZ, root=root)
    assert content(store) == content(open_or_build(recordings, RATE_HZ, root=tmp_path / "other"))


def test_ctrl_c_keeps_what_is_decoded(recordings, root):
    def interrupt(done: int, total: int) -> None:
        if done >= 256:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_or_build(recordings, RATE_HZ, root=root, progress=interrupt)
    seen: list[int] = []
    open_or_build(recordings, RATE_HZ, root=root, progress=lambda done, total: seen.append(done))
    assert seen[0] == 256


# several processes

BUILDER = """
import logging, sys, time
from pathlib import Path
from earmark.store.store_build import open_or_build
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
table, root, marks = given
def wait(done, total):
    (marks / "building").touch()
    while not (marks / "go").exists():
        time.sleep(0.01)
print(open_or_build(table, 16_000, root=root, progress=wait if marks else None).num_samples.sum(), flush=True)
"""


def test_one_process_builds_and_the_other_waits(recordings, root, tmp_path):
    def started(marks: Path | None) -> subprocess.Popen[str]:
        code = f"given = __import__('pickle').loads({pickle.dumps((recordings, root, marks))!r})\n" + BUILDER
        script = tmp_path / f"{marks is None}.py"
        script.write_text(code)
        return subprocess.Popen([sys.executable, "-u", script], stdout=subprocess.PIPE, text=True)

    with started(tmp_path) as first:
        while not (tmp_path / "building").exists():
            assert first.poll() is None
            time.sleep(0.01)
        with started(None) as second:
            assert second.stdout is not None
            line = second.stdout.readline()
            time.sleep(0.5)  # long enough to ask for the lock twice more
            (tmp_path / "go").touch()
            waited, built = second.communicate()[0], first.communicate()[0]
    assert line == "data: another process is decoding these recordings; waiting for it\n"
    total = built.splitlines()[-1]
    assert "decoded 500 clips" in built.splitlines()[0]
    assert waited.splitlines()[0].startswith("data: using samples decoded by an earlier run")
    assert waited.splitlines()[1:] == [total]


READ_ONLY = """
import os
from earmark.store.store_build import open_or_build
from earmark.errors import OutputError
table, root = given
if not os.geteuid():
    os.setuid(65534)  # root may write anywhere
print(open_or_build(table, 16_000, root=root).read(0).sum())
for place in (root, root / "deeper"):
    try:
        open_or_build(table, 8000, root=place)
    except OutputError as exc:
        print(exc)
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can look into, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_read_only_place(open_folder):
    path, root = open_folder / "a.wav", open_folder / "stores"
    soundfile.write(path, tone(300, 0.1), RATE_HZ)
    table = ClipTable([Clip(source="a.wav", path=str(path))], "x")
    store = open_or_build(table, RATE_HZ, root=root)
    root.chmod(0o555)
    done = run(READ_ONLY, table, root)
    root.chmod(0o755)
    total, *said = done.stdout.decode().splitlines()
    assert total == str(store.read(0).sum()), done.stderr
    for place, line in zip((root, root / "deeper"), said, strict=True):
        assert line == (
            f"{place}: the decoded recordings cannot be written (Permission denied). Use another disk with "
            "--store_dir, or decode in every epoch with --store off"
        )


def test_a_root_that_is_a_file(recordings, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file: .*cannot be written \(File exists\).*--store_dir.*--store off"):
        open_or_build(recordings, RATE_HZ, root=tmp_path / "file")
