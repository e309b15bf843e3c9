"""Building the waveform store: once, whole or not at all, by one process, as long as the recordings stay the same."""

from __future__ import annotations

import io
import json
import logging
import os
import pickle
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from earmark.data import store_build, store_disk, store_writer
from earmark.data.clips import Clip, ClipTable
from earmark.data.decode import read_clip
from earmark.data.store_build import open_or_build
from earmark.data.store_disk import estimate_bytes
from earmark.data.store_key import store_key
from earmark.data.waveforms import WaveformStore
from earmark.errors import OutputError
from tests.tiny import RATE_HZ, tone

COUNT = 500


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> ClipTable:
    """500 recordings of 10 to 30 ms, two of which cannot be used."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    clips = []
    for i in range(COUNT):
        path = folder / f"{i}.wav"
        soundfile.write(path, tone(300, rng.uniform(0.01, 0.03), seed=i), RATE_HZ if i % 3 else 8000)
        clips.append(Clip(source=path.name, path=str(path), label=str(i % 2)))
    (folder / "7.wav").write_bytes(b"")
    (folder / "270.wav").unlink()
    return ClipTable(clips, "data")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "stores"


def content(store: WaveformStore) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.folder.iterdir()}


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("earmark")]


def wav_bytes(samples: np.ndarray, rate_hz: int = RATE_HZ, container: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=container)
    return buffer.getvalue()


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
    assert seen[-1] == (COUNT, COUNT)
    assert len(seen) > 3
    assert seen == sorted(seen)
    seconds = round(store.durations_s.sum())
    assert messages(caplog) == [
        f"data: decoded 500 clips (2 cannot be used), {seconds} s of sound, {store.num_bytes / 1000:.1f} kB, "
        f"into {store.folder}"
    ]
    assert sorted(path.name for path in root.iterdir()) == [store.folder.name, f"{store.folder.name}.lock"]
    assert sorted(content(store)) == ["bad.json", "num_samples.npy", "samples.bin", "scales.npy", "store.json"]
    assert json.loads((store.folder / "store.json").read_text())["origin"] == "data"


def test_an_existing_store_is_used_without_decoding(recordings, root, caplog, monkeypatch):
    first = open_or_build(recordings, RATE_HZ, root=root)
    decoded = []

    def watched(clip: Clip, rate_hz: int) -> np.ndarray:
        decoded.append(clip)
        return read_clip(clip, rate_hz)

    monkeypatch.setattr(store_build, "read_clip", watched)
    seen: list[tuple[int, int]] = []
    relabelled = ClipTable([replace(clip, label="x", group="g") for clip in recordings], "again")
    with caplog.at_level(logging.INFO):
        second = open_or_build(relabelled, RATE_HZ, root=root, progress=lambda *done: seen.append(done))
    assert messages(caplog) == [f"again: the recordings as decoded by an earlier run ({first.folder})"]
    assert seen == [(COUNT, COUNT)]
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


# the key


def test_what_makes_another_store(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(tone(300, 0.1)))
    clip = Clip(source="a.wav", path=str(path), label="a")
    key = store_key(ClipTable([clip], "x"), RATE_HZ, "int16")
    assert store_key(ClipTable([clip], "x"), 8000, "int16") != key
    assert store_key(ClipTable([clip], "x"), RATE_HZ, "float16") != key
    for other in (replace(clip, offset_s=0.05), replace(clip, duration_s=0.05), replace(clip, path="b.wav")):
        assert store_key(ClipTable([other], "x"), RATE_HZ, "int16") != key
    assert store_key(ClipTable([clip, clip], "x"), RATE_HZ, "int16") != key
    same = replace(clip, label="b", group="g", fold="1", source="called otherwise", offset_s=0)
    assert store_key(ClipTable([same], "y"), RATE_HZ, "int16") == key
    monkeypatch.chdir(tmp_path)
    assert store_key(ClipTable([replace(clip, path="a.wav")], "x"), RATE_HZ, "int16") == key


def test_changed_content_is_noticed_behind_the_same_size_and_time(tmp_path, root):
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(tone(300, 0.1, seed=0)))
    table = ClipTable([Clip(source="a.wav", path=str(path))], "x")
    before = os.stat(path)
    old = open_or_build(table, RATE_HZ, root=root).read(0)
    time.sleep(0.02)  # the clock of a file system ticks every 4 ms or so
    path.write_bytes(wav_bytes(tone(300, 0.1, seed=1)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = os.stat(path)
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    new = open_or_build(table, RATE_HZ, root=root).read(0)
    assert not np.array_equal(new, old)
    np.testing.assert_array_equal(new, read_clip(table[0], RATE_HZ))


class Held:
    """A recording held in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __call__(self) -> bytes:
        return self.data


def test_recordings_that_are_no_files(root):
    def table(seed: int) -> ClipTable:
        return ClipTable([Clip(source="x", read_bytes=Held(wav_bytes(tone(300, 0.1, seed=seed))))], "x")

    first, again, other = (open_or_build(table(seed), RATE_HZ, root=root) for seed in (0, 0, 1))
    assert first.folder == again.folder != other.folder
    np.testing.assert_array_equal(other.read(0), read_clip(table(1)[0], RATE_HZ))


def test_recordings_embedded_in_tables(root, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    from earmark.data.columns import Columns
    from earmark.data.folders import SplitNames
    from earmark.data.hub import load_saved

    def saved(seed: int) -> ClipTable:
        cells = [{"bytes": wav_bytes(tone(300, 0.1, seed=seed + i)), "path": None} for i in range(3)]
        table = datasets.Dataset.from_dict({"audio": cells, "label": ["a", "b", "a"]})
        table.save_to_disk(tmp_path / str(seed))
        return again(seed)

    def again(seed: int) -> ClipTable:
        table = load_saved(tmp_path / str(seed), Columns(), SplitNames()).train
        assert table is not None
        return table

    table = saved(0)
    store = open_or_build(table, RATE_HZ, root=root)
    assert open_or_build(again(0), RATE_HZ, root=root).folder == store.folder
    for i in range(3):
        np.testing.assert_array_equal(store.read(i), read_clip(table[i], RATE_HZ))
    assert open_or_build(saved(10), RATE_HZ, root=root).folder != store.folder
    assert open_or_build(table.keep([1, 0, 2]), RATE_HZ, root=root).folder != store.folder


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
        (cut("samples.bin"), r"samples\.bin: is cut short \(\d+ of \d+ bytes\)"),
        (lambda folder: (folder / "samples.bin").unlink(), r"samples\.bin: cannot be read \(No such file"),
        (cut("num_samples.npy"), r"num_samples\.npy: is damaged"),
        (flip("scales.npy"), r"scales\.npy: is damaged"),
        (flip("bad.json"), r"bad\.json: is damaged"),
        (cut("store.json"), r"store\.json: is damaged"),
        (edit(sha256={}), r"store\.json: is damaged"),
        (lambda folder: (folder / "store.json").unlink(), r"store\.json: cannot be read \(No such file"),
        (edit(version=0), r"is of version 0, this is version 1"),
        (edit(key="0" * 64), r"was built from other recordings"),
    ],
)  # fmt: skip
def test_a_damaged_store_is_built_again(damage, said, recordings, root, caplog):
    table = recordings.keep(range(20))
    whole = content(store := open_or_build(table, RATE_HZ, root=root))
    damage(store.folder)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        mended = open_or_build(table, RATE_HZ, root=root)
    assert content(mended) == whole
    assert len(messages(caplog)) == 1
    assert caplog.messages[0].endswith("; building it again")
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
    assert "lacks a.mp4, which can be read now; building it again" in caplog.text


# builds that were stopped

KILLED = """
import os, signal
from earmark.data import store_build, store_writer
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
    assert messages(caplog)[0] == f"data: {seen[0]} of 500 clips were there from a build that was stopped"
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
from earmark.data.store_build import open_or_build
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
    assert waited.splitlines()[0].startswith("data: the recordings as decoded by an earlier run")
    assert waited.splitlines()[1:] == [total]


READ_ONLY = """
import os
from earmark.data.store_build import open_or_build
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
            f"{place}: the decoded recordings cannot be written (Permission denied); give a folder elsewhere with "
            "--store_dir, or decode in every epoch with --store off"
        )


def test_a_root_that_is_a_file(recordings, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file: .*cannot be written \(File exists\).*--store_dir.*--store off"):
        open_or_build(recordings, RATE_HZ, root=tmp_path / "file")


# full disks


def test_no_room_is_told_before_anything_is_decoded(tmp_path, root, monkeypatch):
    monkeypatch.setattr(store_build, "read_clip", lambda clip, rate_hz: pytest.fail("decoded"))
    path = tmp_path / "hour.flac"
    with soundfile.SoundFile(path, "w", 8000, 1, "PCM_16") as out:
        for _ in range(60):
            out.write(np.zeros(8000 * 60, np.int16))
    table = ClipTable([Clip(source="hour.flac", path=str(path))] * 100_000, "x")  # 276 TB
    with pytest.raises(OutputError) as caught:
        open_or_build(table, 192_000, root=root, dtype="float32")
    said = str(caught.value)
    assert said.startswith(f"{root}: the decoded recordings take about 276.5 TB more, ")
    for part in ("are free there", "--store_dir", "--max_length_seconds does not help", "--store off"):
        assert part in said
    assert not list(root.glob("*.building"))


def test_a_write_that_the_system_refuses(recordings, root):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # files end here, as they do on a full disk
    try:
        with pytest.raises(OutputError, match=r"no room for the decoded recordings \(File too large\); .*--store_dir"):
            open_or_build(recordings, RATE_HZ, root=root)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(root.glob("*.building"))
    assert len(open_or_build(recordings, RATE_HZ, root=root)) == COUNT


def test_a_disk_that_fills_up_meanwhile(recordings, root, monkeypatch):
    monkeypatch.setattr(store_writer, "_FLUSH_BYTES", 20_000)
    free = iter([10**11] * 4)
    usage = lambda folder: SimpleNamespace(total=10**12, free=next(free, 999_999_999))  # noqa: E731
    monkeypatch.setattr(store_disk.shutil, "disk_usage", usage)
    with pytest.raises(OutputError, match=r"no room .*only 1,000\.0 MB are left free.*--store off"):
        open_or_build(recordings, RATE_HZ, root=root)
    assert not list(root.glob("*.building"))


def test_the_estimate(tmp_path):
    rng = np.random.default_rng(0)
    clips = []
    for i in range(300):
        path = tmp_path / f"{i}.flac"
        soundfile.write(path, np.zeros(int(rng.uniform(4000, 12_000)), np.float32), 8000)
        clips.append(Clip(source=path.name, path=str(path)))
    assert estimate_bytes(clips, 16_000, 2) == pytest.approx(300 * 1.0 * 32_000, rel=0.1)
    cuts = [replace(clip, offset_s=0.1, duration_s=0.2) for clip in clips]
    assert estimate_bytes(cuts, 16_000, 4) == pytest.approx(300 * 0.2 * 64_000, rel=0.01)
    held = [Clip(source="x", read_bytes=Held(wav_bytes(np.zeros(16_000))))] * 3
    missing = [Clip(source="gone", path=str(tmp_path / "gone.wav"))] * 3
    assert estimate_bytes(held, 16_000, 2) == 96_000
    assert estimate_bytes(held + missing, 16_000, 2) == 96_000
    assert estimate_bytes([], 16_000, 2) == 0
