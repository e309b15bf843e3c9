"""Rows in one file: what was written is read, by any process, and a file that is no longer whole is told of."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from earmark.errors import DataError
from earmark.store import flat_file
from earmark.store.flat_file import FlatFile

LENGTHS = np.array([5, 0, 12, 1, 7])


def rows_of(dtype: str) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [(rng.standard_normal(length) * 1000).astype(dtype) for length in LENGTHS]


def written(path: Path, dtype: str = "float32", order: Sequence[int] = (3, 0, 4, 2, 1)) -> FlatFile:
    file = FlatFile(path, dtype, LENGTHS)
    for index in order:
        file.write(index, rows_of(dtype)[index])
    file.close()
    return file


def zeros(count: int) -> np.ndarray:
    return np.zeros(count, dtype=np.int64)


def read_all(file: FlatFile) -> list[np.ndarray]:
    batch = file.read_batch(range(len(file)), zeros(len(file)), file.lengths, int(file.lengths.max()))
    return [row[:length] for row, length in zip(batch, file.lengths, strict=True)]


@pytest.fixture(params=["preadv", "seek and read"])
def reading(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to read at a place; Windows has the second one only."""
    if request.param == "seek and read":
        monkeypatch.setattr(flat_file, "_read_at", flat_file._seek_and_read)
        monkeypatch.setattr(flat_file, "_write_at", flat_file._seek_and_write)


@pytest.mark.usefixtures("reading")
@pytest.mark.parametrize("dtype", ["int16", "float16", "float32"])
def test_rows_come_back_in_any_order(dtype: str, tmp_path: Path) -> None:
    file = written(tmp_path / "rows.bin", dtype)
    assert len(file) == 5
    assert file.offsets.tolist() == [0, 5, 5, 17, 18]
    assert file.path.stat().st_size == 25 * np.dtype(dtype).itemsize
    wanted = rows_of(dtype)
    for row, whole in zip(read_all(file), wanted, strict=True):
        np.testing.assert_array_equal(row, whole)
    rows, starts, counts = [2, 4, 2, 0, 1], np.array([3, 6, 0, 5, 0]), np.array([9, 1, 2, 0, 0])
    batch = file.read_batch(rows, starts, counts, 10)
    assert (batch.shape, batch.dtype) == ((5, 10), np.dtype(dtype))
    for stretch, index, start, count in zip(batch, rows, starts, counts, strict=True):
        np.testing.assert_array_equal(stretch[:count], wanted[index][start : start + count])
        assert not stretch[count:].any()


@pytest.mark.usefixtures("reading")
def test_threads_read_the_same_file(tmp_path: Path) -> None:
    lengths = np.full(64, 500)
    file = FlatFile(tmp_path / "rows.bin", "int16", lengths)
    for index in range(64):
        file.write(index, np.full(500, index, np.int16))
    file.close()

    def reads_right(seed: int) -> bool:
        rows = np.random.default_rng(seed).integers(0, 64, 16)
        batch = file.read_batch(rows, zeros(16), lengths[rows], 500)
        return bool((batch == rows[:, None]).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(reads_right, range(300)))


def test_nothing_to_read(tmp_path: Path) -> None:
    file = written(tmp_path / "rows.bin")
    assert file.read_batch([], zeros(0), zeros(0), 4).shape == (0, 4)
    assert file.read_batch([1, 1], zeros(2), zeros(2), 0).shape == (2, 0)


def test_the_system_may_give_and_take_less_than_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = flat_file._read_at, flat_file._write_at
    monkeypatch.setattr(flat_file, "_read_at", lambda fd, buffers, place: read(fd, [buffers[0][:7]], place))
    monkeypatch.setattr(flat_file, "_write_at", lambda fd, data, place: write(fd, data[:5], place))
    for row, wanted in zip(read_all(written(tmp_path / "rows.bin")), rows_of("float32"), strict=True):
        np.testing.assert_array_equal(row, wanted)


@pytest.mark.parametrize(
    ("start", "count", "width"), [(0, 13, 20), (12, 1, 20), (-1, 2, 20), (0, -1, 20), (0, 5, 4)]
)  # fmt: skip
def test_a_stretch_outside_its_row_is_a_defect(start: int, count: int, width: int, tmp_path: Path) -> None:
    file = written(tmp_path / "rows.bin")
    with pytest.raises(AssertionError):
        file.read_batch([2], np.array([start]), np.array([count]), width)


def test_a_row_of_another_length_is_a_defect(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        written(tmp_path / "rows.bin").write(0, np.zeros(6, np.float32))


# other processes


def first_row(file: FlatFile) -> list[float]:
    row: list[float] = file.read_batch([0], zeros(1), LENGTHS[:1], 5)[0].tolist()
    return row


def write_row(file: FlatFile, index: int) -> None:
    file.write(index, rows_of("float32")[index])


def test_other_processes_read_and_write(tmp_path: Path) -> None:
    file = FlatFile(tmp_path / "rows.bin", "float32", LENGTHS)
    file.write(0, rows_of("float32")[0])
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.starmap(write_row, [(file, index) for index in (1, 2, 3, 4)])
        assert pool.apply(first_row, (file,)) == rows_of("float32")[0].tolist()
    file.close()
    np.testing.assert_array_equal(np.concatenate(read_all(file)), np.concatenate(rows_of("float32")))


def open_files() -> set[str]:
    return {os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(fd)}


def _is_open(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_it_is_closed_in_time(tmp_path: Path) -> None:
    path = tmp_path / "rows.bin"
    file = written(path)
    assert str(path) not in open_files()
    read_all(file)
    assert str(path) in open_files()
    copy = pickle.loads(pickle.dumps(file))
    file.close()
    assert str(path) not in open_files()
    read_all(copy)
    del copy
    assert str(path) not in open_files()
    wrong = FlatFile(path, "float32", LENGTHS, num_bytes=7)
    with pytest.raises(DataError):
        read_all(wrong)
    assert str(path) not in open_files()
    read_all(file)  # opened again
    file.close()
    file.close()


# files that are no longer whole


@pytest.mark.usefixtures("reading")
@pytest.mark.parametrize("opened_before", [True, False])
def test_cut_short(opened_before: bool, tmp_path: Path) -> None:
    file = written(tmp_path / "rows.bin")
    if opened_before:
        read_all(file)
    os.truncate(file.path, 20 * 4)
    with pytest.raises(DataError, match=r"rows\.bin: truncated while it was in use. Run the command again"):
        read_all(file)
    np.testing.assert_array_equal(read_all_but_last(file), np.concatenate(rows_of("float32")[:4]))


def read_all_but_last(file: FlatFile) -> np.ndarray:
    batch = file.read_batch(range(4), zeros(4), LENGTHS[:4], 12)
    return np.concatenate([row[:length] for row, length in zip(batch, LENGTHS, strict=False)])


@pytest.mark.parametrize("change", [-4, 4])
def test_of_another_size_than_when_it_was_made(change: int, tmp_path: Path) -> None:
    path = written(tmp_path / "rows.bin").path
    file = FlatFile(path, "float32", LENGTHS, num_bytes=100)
    assert len(read_all(file)) == 5
    file.close()
    os.truncate(path, 100 + change)
    with pytest.raises(DataError, match=rf"has {100 + change} bytes instead of 100: it was changed while .*rebuild"):
        read_all(file)


def test_deleted(tmp_path: Path) -> None:
    file = written(tmp_path / "rows.bin")
    opened = pickle.loads(pickle.dumps(file))
    read_all(opened)
    file.path.unlink()
    with pytest.raises(DataError, match=r"rows\.bin: deleted while it was in use. Run the command again"):
        read_all(file)
    np.testing.assert_array_equal(read_all(opened)[0], rows_of("float32")[0])  # the system keeps it for those


def test_what_cannot_be_opened_or_read(tmp_path: Path) -> None:
    (tmp_path / "rows.bin").mkdir()
    with pytest.raises(DataError, match=r"rows\.bin: cannot be read \(Is a directory\)"):
        read_all(FlatFile(tmp_path / "rows.bin", "float32", LENGTHS))
    with pytest.raises(DataError, match=r"rows\.bin: cannot be opened \(Is a directory\)"):
        FlatFile(tmp_path / "rows.bin", "float32", LENGTHS).write(0, np.zeros(5))
