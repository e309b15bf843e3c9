"""Parquet: samples without a full scale or rate are reported with their row, unusable files with their fault."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("datasets")
import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from earmark.audio.decode import read_clip
from earmark.clips.clip import Clip
from earmark.errors import AudioError, DataError
from earmark.formats.arrow_audio import EmbeddedSamples, recordings
from earmark.sources.manifests import load_manifest


def table(cells: list[Any]) -> Any:
    return datasets.Dataset.from_dict({"audio": cells}).with_format("arrow")


def read(samples: EmbeddedSamples) -> np.ndarray:
    return read_clip(Clip("train.parquet row 1", read_bytes=samples), 16_000)


def test_int64_samples_are_refused_with_the_fix() -> None:
    """Lists of integers become int64."""
    (cell,) = recordings(table([[0, 100, -100] * 100]), "audio", [16_000], "train.parquet")
    with pytest.raises(AudioError, match=r"train\.parquet row 1: samples have type int64.*astype\('int16'\)"):
        read(cell)


@pytest.mark.parametrize("rate", [None, math.nan, 0, -5, math.inf, "fast"])
def test_a_bad_rate_in_a_column_names_the_row(rate: Any) -> None:
    with pytest.raises(DataError, match=r"train\.parquet row 2: the sampling rate .* is not a positive number"):
        recordings(table([[0.1] * 100] * 2), "audio", [16_000, rate], "train.parquet")


@pytest.mark.parametrize("rate", [None, 0])
def test_a_bad_rate_in_a_cell_names_the_row(rate: Any) -> None:
    cells = [{"array": [0.1] * 100, "sampling_rate": 16_000}, {"array": [0.1] * 100, "sampling_rate": rate}]
    good, bad = recordings(table(cells), "audio", None, "train.parquet")
    assert len(read(good)) == 100
    with pytest.raises(AudioError, match=r"row 1: the sampling rate .* is not a positive number"):
        read(bad)


def test_only_a_path_is_called_a_path() -> None:
    def broken() -> bytes:
        raise ValueError("three channels of nothing")

    with pytest.raises(AudioError, match=r"^cell: three channels of nothing$"):
        read_clip(Clip("cell", read_bytes=broken), 16_000)
    with pytest.raises(AudioError, match="is not a path"):
        read_clip(Clip("a", path="a\0b"), 16_000)
    with pytest.raises(ValueError, match="quality"), stream_error():
        pass


def stream_error() -> Any:
    """A fault of the program while a recording is open, which is no fault of the recording."""
    import io
    from contextlib import contextmanager

    from earmark.audio.decode import _opened

    @contextmanager
    def failing() -> Any:
        with _opened(Clip("a", read_bytes=io.BytesIO(b"x").getvalue)):
            raise ValueError("quality")
            yield

    return failing()


@pytest.mark.parametrize(
    ("paths", "names", "said"),
    [
        ([], ["path", "label"], "has no rows, or contains a Parquet file without rows. Add rows"),
        (["a.wav"], ["path", "label", "label"], "has two columns named 'label'. Rename one of them"),
    ],
)
def test_parquet_without_rows_or_with_two_equal_columns(
    paths: list[str], names: list[str], said: str, tmp_path: Path
) -> None:
    cells = [pa.array(paths, pa.string()) for _ in names]
    pq.write_table(pa.Table.from_arrays(cells, names=names), tmp_path / "train.parquet")
    with pytest.raises(DataError) as caught:
        load_manifest(tmp_path / "train.parquet")
    assert str(caught.value).startswith(f"{tmp_path / 'train.parquet'}: {said}")
