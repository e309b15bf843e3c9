"""Compute the accuracy or error of parts of a split: by length, group, sampling rate and other columns."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from earmark.audio.decode import own_rate_hz
from earmark.clips.clip import ClipTable
from earmark.tasks.report_section import ACCURACY, Measure
from earmark.text import counted, five_digits

_MOST_VALUES = 24  # a column with at most this many values shows all of them
_LOWEST = 12  # number of worst values shown for a column with more values
_FEWEST_CLIPS = 10  # a value with fewer clips is not shown
_PARTS = 4  # parts of a column of numbers
_MOST_HEADERS = 20_000  # maximum number of recordings whose header is read for the sampling rate
_NAMED = 3
_EMPTY = "(empty)"


@dataclass(frozen=True)
class _Column:
    """A value of each clip, and the order of the values."""

    name: str
    values: list[str]
    order: list[str]


def slices(
    table: ClipTable,
    values: np.ndarray,
    durations_s: np.ndarray,
    group_column: str | None,
    measure: Measure = ACCURACY,
    more: Mapping[str, Sequence[object]] | None = None,
) -> tuple[list[dict[str, object]], list[str]]:
    """Compute accuracy, or error, by all known properties of the clips.

    Args:
        table: N clips.
        values: whether each clip is predicted correctly, or its error, (N,).
        durations_s: lengths of the clips in seconds, float (N,).
        group_column: name of the groups.
        measure: name and format of the values, accuracy or error.
        more: additional columns of N values.

    Returns:
        ``(columns, notes)``: for each column ``{"name", "rows": [{"value", "clips", "accuracy", "low", "high",
        "differs"}], "values"}``, with 95 % intervals, and the name of the measure in place of ``accuracy``. ``differs``
        says whether the interval excludes the value of the whole split. Columns with one value are left out without a
        note; for any other column that is left out, a note says why.
    """
    columns, notes = _columns(table, durations_s, group_column, more or {})
    return [_rows(column, values, measure) for column in columns if len(set(column.values)) > 1], notes


def _columns(
    table: ClipTable, durations_s: np.ndarray, group_column: str | None, more: Mapping[str, Sequence[object]]
) -> tuple[list[_Column], list[str]]:
    columns, notes = [_by_number("length", durations_s.tolist(), "s")], []
    given: dict[str, Sequence[Any]] = {
        **more,
        group_column or "group": [clip.group for clip in table],
        "fold": [clip.fold for clip in table],
    }
    for name in dict.fromkeys(name for clip in table for name in clip.metadata):
        given[name] = [clip.metadata.get(name) for clip in table]
    for name, values in given.items():
        if all(value is None for value in values):
            continue
        column, note = _column(name, values)
        columns += [column] if column else []
        notes += [note] if note else []
    if len(table) > _MOST_HEADERS:
        return columns, [*notes, f"not divided by sampling rate: there are more than {_MOST_HEADERS:,} recordings"]
    with ThreadPoolExecutor() as pool:
        rates = list(pool.map(own_rate_hz, table))
    names = {rate: f"{rate} Hz" if rate else "unknown" for rate in sorted(set(rates))}
    return [*columns, _Column("sampling rate", [names[rate] for rate in rates], list(names.values()))], notes


def _column(name: str, values: Sequence[object]) -> tuple[_Column | None, str | None]:
    """Divide a split by a column of the table; return the parts or ``None``, and a note or ``None``."""
    numbers = [_number(value) for value in values]
    there = [value is not None for value in values]
    texts = [str(value) for value, number in zip(values, numbers, strict=True) if value is not None and number is None]
    distinct = Counter(str(value) for value in values if value is not None)
    note = None
    if 0 < len(texts) < sum(there) / 2:  # if most values are text, numbers are names that look like 1e5
        named = ", ".join(repr(text) for text in list(dict.fromkeys(texts))[:_NAMED])
        note = (
            f"column {name!r} mixes {counted(sum(there) - len(texts), 'number')} with {counted(len(texts), 'text')} "
            f"({named}) and is read as text"
        )
    if not texts and len(distinct) > _MOST_VALUES:
        return _by_number(name, [math.nan if number is None else number for number in numbers], ""), note
    if len(distinct) > max(_MOST_VALUES, len(values) // 2):
        return None, f"not divided by column {name!r}: it has {len(distinct):,} values for {sum(there):,} clips"
    order = sorted(distinct, key=lambda text: (_number(text) is None, _number(text) or 0.0, text))
    return _Column(name, [_EMPTY if value is None else str(value) for value in values], [*order, _EMPTY]), note


def _number(value: Any) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _by_number(name: str, values: Sequence[float], unit: str) -> _Column:
    """Divide clips into parts of equal size, as far as equal numbers allow."""
    numbers = np.array(values, dtype=np.float64)
    known = ~np.isnan(numbers)
    edges = np.unique(np.quantile(numbers[known], np.linspace(0, 1, _PARTS + 1)))
    if len(edges) < 2:
        edges = np.array([edges[0], edges[0]])
    part = np.clip(np.searchsorted(edges, numbers, side="left") - 1, 0, len(edges) - 2)
    names = [f"{low} to {high} {unit}".rstrip() for low, high in pairwise(_in_few_digits(edges))]
    return _Column(name, [names[i] if here else _EMPTY for i, here in zip(part, known, strict=True)], [*names, _EMPTY])


def _in_few_digits(numbers: np.ndarray) -> list[str]:
    """Format ascending numbers with the fewest digits that distinguish them.

    All digits before the point are kept, and at least four digits in all.
    """
    whole = len(str(int(np.abs(numbers).max()))) if np.abs(numbers).max() < 1e15 else 0
    for digits in range(max(4, whole), 18):
        texts = [f"{number:.{digits}g}" for number in numbers]
        if len(set(texts)) == len(set(numbers.tolist())):
            break
    return texts


def _rows(column: _Column, values: np.ndarray, measure: Measure) -> dict[str, Any]:
    parts = _parts(column, values)
    means = {name: float(part.mean()) for name, part in parts.items()}
    shown = list(parts)
    if len(parts) > _MOST_VALUES:
        enough = [name for name in parts if len(parts[name]) >= _FEWEST_CLIPS] or shown
        sign = 1 if measure.higher_is_better else -1
        shown = sorted(enough, key=lambda name: (sign * means[name], name))[:_LOWEST]
    overall = float(values.mean())
    rows = []
    for name in shown:
        interval = measure.interval(parts[name])
        rows.append(
            {
                "value": name,
                "clips": len(parts[name]),
                measure.name: five_digits(means[name]),
                "low": None if interval is None else five_digits(interval.low),
                "high": None if interval is None else five_digits(interval.high),
                "differs": interval is not None and not interval.low <= overall <= interval.high,
            }
        )
    return {"name": column.name, "rows": rows, "values": len(parts)}


def _parts(column: _Column, values: np.ndarray) -> dict[str, np.ndarray]:
    """Return the values of the clips in each part, in the order of the column."""
    number = {name: i for i, name in enumerate(dict.fromkeys(column.order))}
    of_clip = np.array([number[name] for name in column.values])
    order = np.argsort(of_clip, kind="stable")
    ends = np.cumsum(np.bincount(of_clip, minlength=len(number)))
    parts = dict(zip(number, np.split(values[order], ends[:-1]), strict=True))
    return {name: part for name, part in parts.items() if len(part)}
