"""Recordings in Arrow tables (Parquet, data sets): encoded files, or samples with their sampling rate."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile

from earmark.errors import DataError
from earmark.extras import require

_BATCH = 1000  # rows processed together when a table is listed
_RATES = ("sampling_rate", "sample_rate", "rate", "sr")
_SUBTYPES = {"int16": "PCM_16", "int32": "PCM_32", "uint8": "PCM_U8", "float32": "FLOAT", "float64": "DOUBLE"}


@dataclass(frozen=True)
class EmbeddedAudio:
    """Reader for the recording in one row. The table stays on the disk, memory-mapped.

    Attributes:
        table: a ``datasets.Dataset`` with only the audio column, in Arrow format.
        row: index of the row.
    """

    table: Any
    row: int

    def __call__(self) -> bytes:
        """Return the encoded recording."""
        cell = self.table[self.row : self.row + 1].column(0)[0].as_py()
        data: bytes = cell["bytes"] if isinstance(cell, Mapping) else cell
        return data

    def identity(self) -> str:
        """Return an ID of the recording: the fingerprint of the table's content from ``datasets``, and the row."""
        return f"{self.table._fingerprint} {self.row}"


@dataclass(frozen=True)
class EmbeddedSamples(EmbeddedAudio):
    """Encoder that returns the samples in one row as WAV, without loss.

    Attributes:
        rate_hz: sampling rate; ``None`` if it is in the same cell as the samples.
    """

    rate_hz: int | None = None

    def __call__(self) -> bytes:
        """Return the samples as a WAV file.

        Raises:
            ValueError: they are not samples, their type has no known full scale, or their rate is not a positive
                number.
        """
        cell = self.table[self.row : self.row + 1].column(0)[0].as_py()
        values, rate = (cell["array"], cell[_rate_key(cell)]) if isinstance(cell, Mapping) else (cell, self.rate_hz)
        rate_hz = _rate_hz(rate)
        samples = np.asarray(values)
        if samples.dtype.kind == "f" and _item_type(self.table) == "float":
            samples = samples.astype(np.float32)
        elif samples.dtype.kind in "iu":
            samples = samples.astype(_item_type(self.table))
        if samples.ndim == 2 and samples.shape[0] < samples.shape[1]:  # (channels, samples)
            samples = samples.T
        if samples.ndim not in (1, 2) or samples.dtype.name not in _SUBTYPES:
            raise ValueError(_unusable(samples))
        buffer = io.BytesIO()
        try:
            soundfile.write(buffer, samples, rate_hz, format="WAV", subtype=_SUBTYPES[samples.dtype.name])
        except soundfile.SoundFileError as exc:
            raise ValueError(f"{samples.shape} samples at {rate_hz} Hz cannot be stored ({exc})") from exc
        return buffer.getvalue()


def _rate_hz(rate: Any) -> int:
    """Return a sampling rate from a table as a whole number.

    Raises:
        ValueError: the rate is missing or not a positive number.
    """
    try:
        rate_hz = round(float(rate))
    except (TypeError, ValueError, OverflowError):  # None, text, NaN, infinity
        rate_hz = 0
    if not 0 < rate_hz < 1 << 31:
        raise ValueError(f"the sampling rate {rate!r} is not a positive number. Write it in Hz")
    return rate_hz


def _unusable(samples: np.ndarray) -> str:
    """Return why an array cannot be a recording, and what to do."""
    if samples.ndim not in (1, 2):
        return f"samples have {samples.ndim} dimensions. Store (samples,) or (samples, channels)"
    if samples.dtype.kind not in "iu":
        return f"samples have type {samples.dtype}. Store them as int16, or as float32 within -1 to 1"
    return (
        f"samples have type {samples.dtype} (the default of pandas), whose full scale is unknown. "
        "Convert 16-bit samples with array.astype('int16'), and other samples to float32 within -1 to 1"
    )


def _rate_key(cell: Mapping[str, object]) -> str:
    return next(key for key in _RATES if key in cell)


def _item_type(table: Any) -> str:
    """Return Arrow's name of the type of the samples in the audio column."""
    pyarrow = require("pyarrow")
    kind = table.data.schema.field(0).type
    if pyarrow.types.is_struct(kind):
        kind = kind.field("array").type
    while hasattr(kind, "value_type"):
        kind = kind.value_type
    return str(kind)


def recordings(table: Any, column: str, rates: list[Any] | None, origin: str) -> list[Any]:
    """Return the recording of each row: a path, a function that returns its bytes, or ``None``.

    Args:
        table: a ``datasets.Dataset`` with only the audio column, in Arrow format.
        column: name of the column, for messages.
        rates: sampling rates in Hz from another column, one per row; ``None`` without such a column.
        origin: name of the table, for messages.

    Raises:
        DataError: samples have no sampling rate, or one that is not a positive number.
    """
    pyarrow = require("pyarrow")
    kind = table.data.schema.field(0).type
    fields = {kind.field(i).name for i in range(kind.num_fields)} if pyarrow.types.is_struct(kind) else set()
    is_list = pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind) or pyarrow.types.is_fixed_size_list(kind)
    if "array" in fields and "bytes" not in fields and not fields & set(_RATES):
        raise DataError(_no_rate(origin, column))
    if is_list and rates is None:
        raise DataError(_no_rate(origin, column))
    has_samples = is_list or ("array" in fields and "bytes" not in fields)
    cells: list[Any] = []
    for start in range(0, len(table), _BATCH):
        batch = table[start : start + _BATCH].column(0)
        for i, (path, is_inside) in enumerate(_paths_and_content(batch, fields, has_samples), start):
            if is_inside and has_samples:
                try:
                    rate_hz = None if rates is None else _rate_hz(rates[i])
                except ValueError as exc:
                    raise DataError(f"{origin} row {i + 1}: {exc}") from exc
                cells.append(EmbeddedSamples(table, i, rate_hz))
            else:
                cells.append(EmbeddedAudio(table, i) if is_inside else path)
    return cells


def rate_column(names: list[str]) -> str | None:
    """Return the column with the sampling rate of each recording; ``None`` without one."""
    return next((name for name in names if name.casefold() in _RATES), None)


def _no_rate(origin: str, column: str) -> str:
    return (
        f"{origin}: column {column!r} holds samples without their sampling rate. Add a column sampling_rate, or write "
        "{array, sampling_rate} in each cell"
    )


def _paths_and_content(column: Any, fields: set[str], has_samples: bool) -> Iterator[tuple[str | None, bool]]:
    """Yield the path in each cell, and whether the cell holds the recording itself, without copying recordings."""
    pyarrow = require("pyarrow")
    import pyarrow.compute as compute

    kind = column.type
    if has_samples:
        inside = compute.struct_field(column, "array") if fields else column
        return ((None, there) for there in compute.is_valid(inside).to_pylist())
    if fields:
        nothing = [None] * len(column)
        paths = compute.struct_field(column, "path").to_pylist() if "path" in fields else nothing
        if "bytes" in fields:
            return zip(paths, compute.is_valid(compute.struct_field(column, "bytes")).to_pylist(), strict=True)
        return ((path, False) for path in paths)
    if pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind):
        return ((None, there) for there in compute.is_valid(column).to_pylist())
    return ((path if isinstance(path, str) else None, False) for path in column.to_pylist())
