"""What makes another store: changed recordings, cuts, rates and types, and nothing else."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import numpy as np
import pytest

from earmark.audio.decode import read_clip
from earmark.clips.clip import Clip, ClipTable
from earmark.store.store_build import open_or_build
from earmark.store.store_key import store_keys
from tests.store.held import Held, wav_bytes
from tests.tiny import RATE_HZ, tone


def test_what_makes_another_store(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(tone(300, 0.1)))
    clip = Clip(source="a.wav", path=str(path), label="a")
    key = store_keys(ClipTable([clip], "x"), RATE_HZ, "int16")[0]
    assert store_keys(ClipTable([clip], "x"), 8000, "int16")[0] != key
    assert store_keys(ClipTable([clip], "x"), RATE_HZ, "float16")[0] != key
    for other in (replace(clip, offset_s=0.05), replace(clip, duration_s=0.05), replace(clip, path="b.wav")):
        assert store_keys(ClipTable([other], "x"), RATE_HZ, "int16")[0] != key
    assert store_keys(ClipTable([clip, clip], "x"), RATE_HZ, "int16")[0] != key
    same = replace(clip, label="b", group="g", fold="1", source="called otherwise", offset_s=0)
    assert store_keys(ClipTable([same], "y"), RATE_HZ, "int16")[0] == key
    monkeypatch.chdir(tmp_path)
    assert store_keys(ClipTable([replace(clip, path="a.wav")], "x"), RATE_HZ, "int16")[0] == key


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


def test_recordings_that_are_no_files(root):
    def table(seed: int) -> ClipTable:
        return ClipTable([Clip(source="x", read_bytes=Held(wav_bytes(tone(300, 0.1, seed=seed))))], "x")

    first, again, other = (open_or_build(table(seed), RATE_HZ, root=root) for seed in (0, 0, 1))
    assert first.folder == again.folder != other.folder
    np.testing.assert_array_equal(other.read(0), read_clip(table(1)[0], RATE_HZ))


def test_recordings_embedded_in_tables(root, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    from earmark.clips.columns import Columns
    from earmark.clips.split_names import SplitNames
    from earmark.sources.source import Request
    from earmark.sources.source_registry import load_data_dir

    def saved(seed: int) -> ClipTable:
        cells = [{"bytes": wav_bytes(tone(300, 0.1, seed=seed + i)), "path": None} for i in range(3)]
        table = datasets.Dataset.from_dict({"audio": cells, "label": ["a", "b", "a"]})
        table.save_to_disk(tmp_path / str(seed))
        return again(seed)

    def again(seed: int) -> ClipTable:
        table = load_data_dir(str(tmp_path / str(seed)), Request(Columns(), SplitNames())).train
        assert table is not None
        return table

    table = saved(0)
    store = open_or_build(table, RATE_HZ, root=root)
    assert open_or_build(again(0), RATE_HZ, root=root).folder == store.folder
    for i in range(3):
        np.testing.assert_array_equal(store.read(i), read_clip(table[i], RATE_HZ))
    assert open_or_build(saved(10), RATE_HZ, root=root).folder != store.folder
    assert open_or_build(table.keep([1, 0, 2]), RATE_HZ, root=root).folder != store.folder
