"""Reading the waveform store: what is given is what was decoded, and a file that was tampered with is told of."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.audio.decode import read_clip
from earmark.clips.clip import Clip, ClipTable
from earmark.errors import DataError
from earmark.store.scan import drop_bad
from earmark.store.store_build import open_or_build
from earmark.store.waveforms import WaveformStore, default_store_root, encode_samples
from tests.tiny import RATE_HZ, tone

SECONDS = (0.3, 0.05, 0.2, 0.1)


@pytest.fixture
def table(tmp_path: Path) -> ClipTable:
    """Four 16-bit recordings at the model's rate, of different length."""
    clips = []
    for i, seconds in enumerate(SECONDS):
        soundfile.write(tmp_path / f"{i}.wav", tone(200 + 50 * i, seconds, seed=i), RATE_HZ)
        clips.append(Clip(source=f"clip {i}", path=str(tmp_path / f"{i}.wav")))
    return ClipTable(clips, "data")


@pytest.fixture
def store(table: ClipTable, tmp_path: Path) -> WaveformStore:
    return open_or_build(table, RATE_HZ, root=tmp_path / "stores")


def test_sixteen_bit_recordings_come_back_exactly(store: WaveformStore, table: ClipTable):
    assert store.dtype == "int16"
    assert store.scales.dtype == np.float32
    assert store.num_samples.tolist() == [round(seconds * RATE_HZ) for seconds in SECONDS]
    np.testing.assert_allclose(store.durations_s, SECONDS)
    for i, clip in enumerate(table):
        samples = store.read(i)
        assert samples.dtype == np.float32
        np.testing.assert_array_equal(samples, read_clip(clip, RATE_HZ))
    np.testing.assert_array_equal(store.read(2, 100, 50), read_clip(table[2], RATE_HZ)[100:150])
    np.testing.assert_array_equal(store.read(2, 3000), read_clip(table[2], RATE_HZ)[3000:])
    for samples, index in zip(store.iterate([3, 0]), (3, 0), strict=True):
        np.testing.assert_array_equal(samples, read_clip(table[index], RATE_HZ))


@pytest.mark.parametrize("dtype", ["int16", "float16", "float32"])
def test_batches(table: ClipTable, dtype: str, tmp_path: Path):
    store = open_or_build(table, RATE_HZ, root=tmp_path / "stores", dtype=dtype)
    rows, starts, counts = [2, 0, 2, 1], np.array([0, 700, 10, 799]), np.array([3200, 4000, 0, 1])
    batch = store.read_batch(rows, starts, counts, 4000)
    assert batch.dtype == dtype
    assert batch.shape == (4, 4000)
    for stretch, row, start, count in zip(batch, rows, starts, counts, strict=True):
        wanted = read_clip(table[row], RATE_HZ)[start : start + count]
        np.testing.assert_allclose(stretch[:count] * store.scales[row], wanted, atol=2e-4 if dtype == "float16" else 0)
        assert not stretch[count:].any()
    assert store.read_batch([], np.zeros(0, np.int64), np.zeros(0, np.int64), 10).shape == (0, 10)


def test_tails_are_zero_in_memory_used_before(store: WaveformStore):
    for _ in range(20):
        np.full((4, 4800), 77, dtype=np.int16)  # freed at once: the next batch is likely to get this memory
        batch = store.read_batch([0, 1, 2, 3], np.zeros(4, np.int64), np.array([1, 2, 3, 4]), 4800)
        assert [np.count_nonzero(row[i + 1 :]) for i, row in enumerate(batch)] == [0] * 4


@pytest.mark.parametrize(
    ("start", "count", "width"), [(0, 801, 900), (790, 11, 900), (-1, 5, 900), (0, 10, 9)]
)  # fmt: skip
def test_a_stretch_outside_its_clip_is_a_defect(store: WaveformStore, start: int, count: int, width: int):
    with pytest.raises(AssertionError):
        store.read_batch([1], np.array([start]), np.array([count]), width)


def test_rows_without_the_bad_ones(table: ClipTable, tmp_path: Path):
    clips = [table[0], Clip(source="gone", path=str(tmp_path / "gone.wav")), table[1], table[2]]
    with_bad = ClipTable(clips, "data")
    store = open_or_build(with_bad, RATE_HZ, root=tmp_path / "stores")
    assert [(clip.index, clip.source) for clip in store.bad] == [(1, "gone")]
    assert store.num_samples[1] == 0
    assert store.read(1).shape == (0,)
    usable, good = drop_bad(with_bad, store.bad), store.without_bad()
    assert len(good) == len(usable) == 3
    assert good.bad == []
    for i, clip in enumerate(usable):
        np.testing.assert_array_equal(good.read(i), read_clip(clip, RATE_HZ))


def test_the_file_is_not_mapped_into_memory(store: WaveformStore):
    if not os.path.exists("/proc/self/maps"):
        pytest.skip("no list of mappings on this system")
    store.read(0)
    assert "samples.bin" not in Path("/proc/self/maps").read_text()


def test_spawned_workers_open_the_file_themselves(store: WaveformStore):
    store.read(0)  # opened here: its descriptor must not travel
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(store.read, (2,)), store.read(2))


FORKED = """
import os, pickle, sys
store = pickle.load(sys.stdin.buffer)
before = [store.read(i).tobytes() for i in range(4)]
(store.folder / "samples.bin").unlink()
child = os.fork()
if not child:
    os._exit([store.read(i).tobytes() for i in range(4)] != before)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_forked_workers_read_through_the_same_descriptor(store: WaveformStore):
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], input=pickle.dumps(store), check=True)


def test_a_file_cut_short_while_in_use(store: WaveformStore):
    store.read(0)
    os.truncate(store.folder / "samples.bin", store.num_bytes - 100)
    np.testing.assert_array_equal(store.read(0), store.read(0))
    said = r"samples\.bin: truncated while it was in use. Run the command again to rebuild it"
    with pytest.raises(DataError, match=said):
        store.read(3)
    with pytest.raises(DataError, match=r"samples\.bin: has \d+ bytes instead of \d+: it was changed.*rebuild it"):
        pickle.loads(pickle.dumps(store)).read(0)  # a worker that opens it only now


def test_a_file_deleted_while_in_use(store: WaveformStore):
    wanted = store.read(2)
    (store.folder / "samples.bin").unlink()
    np.testing.assert_array_equal(store.read(2), wanted)
    with pytest.raises(DataError, match=r"samples\.bin: deleted while it was in use. Run the command again"):
        pickle.loads(pickle.dumps(store)).read(2)


def test_descriptors_are_closed(store: WaveformStore):
    copies = [pickle.loads(pickle.dumps(store)) for _ in range(3)]
    descriptors = []
    for copy in copies:
        copy.read(0)
        descriptors.append(copy._file._descriptor)
    del copies, copy
    for descriptor in descriptors:
        with pytest.raises(OSError):
            os.fstat(descriptor)


@pytest.mark.parametrize("peak", [1.5, 0.999, 0.01, 1e-4, 3e38, 1e-39, 1e-44])
def test_other_recordings_keep_fifteen_bits(peak: float):
    samples = (np.random.default_rng(0).uniform(-1, 1, 5000) * peak).astype(np.float32)
    stored, scale = encode_samples(samples, "int16")
    assert stored.dtype == np.int16
    largest = np.abs(samples).max()
    assert np.abs(stored * np.float32(scale) - samples).max() <= 0.51 * max(largest / 32767, 1.2e-38)
    if peak > 1e-30:
        assert np.abs(stored.astype(int)).max() == 32767


@pytest.mark.parametrize(
    ("samples", "stored", "scale"),
    [
        ([0.0, 0.0], [0, 0], 1 / 32768),
        ([-1.0, 0.5, 32767 / 32768], [-32768, 16384, 32767], 1 / 32768),
        ([1.0, -1.0], [32767, -32767], 1 / 32767),  # +1 is no 16-bit sample
        ([0.5 / 32768, 0.0], [32767, 0], 0.5 / 32768 / 32767),
    ],
)
def test_what_is_stored_exactly(samples: list[float], stored: list[int], scale: float):
    found, factor = encode_samples(np.array(samples, dtype=np.float32), "int16")
    assert found.tolist() == stored
    assert factor == pytest.approx(scale)


def test_float16_has_its_peak_at_one():
    stored, scale = encode_samples(np.array([0.0, -3e-3, 1e-3], dtype=np.float32), "float16")
    assert stored.dtype == np.float16
    assert stored[1] == -1
    assert scale == pytest.approx(3e-3)
    assert encode_samples(np.zeros(3, np.float32), "float16")[1] == 1.0


def test_where_stores_go(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EARMARK_STORE", "/data/stores")
    assert default_store_root() == Path("/data/stores")
    monkeypatch.delenv("EARMARK_STORE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert default_store_root() == Path("/caches/earmark/waveforms")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert default_store_root() == Path("/home/someone/.cache/earmark/waveforms")
