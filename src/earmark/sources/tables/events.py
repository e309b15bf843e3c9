"""Find the columns with the start and end of each clip in its recording, by name.

A column name is split into words. Letter case, punctuation and the words in ``_FILLERS`` are ignored, and a word of
``_UNITS`` is the unit (default: seconds). The remaining word is a start, an end or a duration: ``onset``, ``start_ms``,
``Begin Time (s)`` and ``segmentStart`` are starts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from earmark.clips.columns import NO_COLUMN, Columns, missing_column
from earmark.errors import DataError
from earmark.formats.cell_text import is_missing
from earmark.formats.column_names import is_known_name, name_finder, plain_name
from earmark.formats.sheet import CellError, Faults, Sheet, convert
from earmark.text import agreeing

SAMPLES = "samples"
START, END, DURATION, OFFSET = "start", "end", "duration", "offset"
_ROLES = {
    START: ("start", "starts", "begin", "beginning", "beg", "onset", "tmin", "xmin"),
    END: ("end", "ends", "stop", "finish", "tmax", "xmax"),
    DURATION: ("duration", "dur"),
    OFFSET: ("offset",),
}
_ROLE = {word: role for role, words in _ROLES.items() for word in words}
_FILLERS = {"time", "in", "event", "segment", "seg", "selection", "sel", "annotation", "clip", "t", "of", "the", "file"}
_FILLERS_OF_A_DURATION = {"in", "event", "segment", "seg", "selection", "annotation"}
_SECONDS = {"s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0}
_OTHERS: dict[str, float | str] = {
    **dict.fromkeys(("ms", "msec", "millis", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "usec", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("sample", "samples", "samp"), SAMPLES),
}
_UNITS: dict[str, float | str] = {**_SECONDS, **_OTHERS}
_FRAMES = ("frame", "frames")
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:\.\d*)?)")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
# published data sets whose start and end columns do not refer to the listed files
_NOT_EVENTS = {
    "UrbanSound8K": {"slice file name", "fsid", "start", "end"},
}
_DIGITS = 9  # decimals of seconds, because sums of floats are not exact


@dataclass(frozen=True)
class TimeColumn:
    """A column of times.

    Attributes:
        name: name of the column.
        role: start, end, duration or offset.
        unit: one unit in seconds, or ``"samples"``; ``None`` for frames, whose length is unknown.
    """

    name: str
    role: str
    unit: float | str | None = 1.0

    def in_words(self) -> str:
        """Return the unit in words."""
        if self.unit == 1.0:
            return "in seconds"
        if self.unit == SAMPLES:
            return "in samples of the recording"
        return f"in units of {self.unit:g} s"


@dataclass(frozen=True)
class EventColumns:
    """The columns that give start and length of each clip; ``None`` for missing columns."""

    start: TimeColumn | None = None
    end: TimeColumn | None = None
    duration: TimeColumn | None = None

    def used(self) -> list[str]:
        """Return the names of the columns."""
        return [column.name for column in (self.start, self.end, self.duration) if column is not None]


def time_column(name: str) -> TimeColumn | None:
    """Return the time column with this name; ``None`` if there is none."""
    words = [word.casefold() for word in _WORD.findall(name)]
    unit: float | str | None = 1.0
    for word in [word for word in words if word in _UNITS or word in _FRAMES]:
        unit = _UNITS.get(word)
        words.remove(word)
    role = next((_ROLE[word] for word in words if word in _ROLE), None)
    if role is None or (role == OFFSET and "file" in words):  # in Raven's tables, the offset in one of several files
        return None
    fillers = _FILLERS_OF_A_DURATION if role == DURATION else _FILLERS
    rest = [word for word in words if word not in fillers]
    return TimeColumn(name, role, unit) if len(rest) == 1 else None


def find_events(sheet: Sheet, wanted: Columns, audio: str, taken: list[str]) -> EventColumns:
    """Find the columns with start and end of each clip, and explain the choice in the sheet.

    Args:
        sheet: the table.
        wanted: column names asked for.
        audio: column of the recordings.
        taken: columns with another role.

    Raises:
        MissingColumnError: a column that was asked for does not exist.
        DataError: the role of a column is ambiguous.
    """
    if wanted.start == NO_COLUMN or wanted.end == NO_COLUMN:
        sheet.explain("clips are whole recordings because --start_column_name or --end_column_name is none")
        return EventColumns()
    names = {plain_name(name) for name in sheet.columns}
    for title, needed in _NOT_EVENTS.items():
        if needed <= names and wanted.start is None and wanted.end is None:
            sheet.explain(f"columns start and end are not used: in {title} they refer to the original recordings")
            return EventColumns()
    if wanted.start is not None or wanted.end is not None:
        return _asked_for(sheet, wanted)
    candidates = [name for name in sheet.columns if name not in taken and not is_known_name(name)]
    found = [column for name in candidates if (column := time_column(name)) is not None]
    by_role = {role: [column for column in found if column.role == role] for role in (START, END, DURATION, OFFSET)}
    is_nemo = plain_name(audio) == "audio filepath"
    events = _chosen(by_role, sheet, is_nemo)
    if plain_name(audio) == "wav" and events.end is not None and events.end.name.casefold() == "stop":
        assert events.start is not None
        events = EventColumns(TimeColumn(events.start.name, START, SAMPLES), TimeColumn(events.end.name, END, SAMPLES))
    _explain(sheet, events, found)
    return events


def _asked_for(sheet: Sheet, wanted: Columns) -> EventColumns:
    find = name_finder(sheet.columns)
    columns: list[TimeColumn | None] = []
    for asked, role in ((wanted.start, START), (wanted.end, END)):
        name = find(asked) if asked is not None else None
        if asked is not None and name is None:
            raise missing_column(sheet.origin, asked, sheet.columns, f"{role}_column_name")
        if name is None:
            columns.append(None)
            continue
        of_name = time_column(name)
        columns.append(TimeColumn(name, role, 1.0 if of_name is None else of_name.unit))
        sheet.explain(f"column `{name}` was read as the {role} of the event because --{role}_column_name names it")
    start, end = columns
    duration = None
    if end is None:
        found = map(time_column, sheet.columns)
        duration = next((column for column in found if column is not None and column.role == DURATION), None)
    _check_units(sheet, [start, end, duration])
    return EventColumns(start, end, duration)


def _chosen(by_role: dict[str, list[TimeColumn]], sheet: Sheet, is_nemo: bool) -> EventColumns:
    """Choose the columns. ``offset`` is the end if there is a start, and the start if there is an end or duration."""
    start, end, duration, offset = (next(iter(columns), None) for columns in by_role.values())
    if offset is not None and start is None and (end or duration or is_nemo):
        start = offset
    elif offset is not None and start is not None and end is None and duration is None:
        end = offset
    elif offset is not None and start is None and not all(map(_is_nothing, sheet.columns[offset.name])):
        raise DataError(
            f"{sheet.origin}: column {offset.name!r} could be the start or the end of each event, because there is no "
            f"other column of starts, ends or durations. Add --start_column_name {offset.name} or --end_column_name "
            f"{offset.name}, or --start_column_name none to use whole recordings"
        )
    if start is None:
        return EventColumns(duration=duration) if is_nemo else EventColumns()
    _check_units(sheet, [start, end, None if end else duration])
    return EventColumns(start, end, None if end else duration)


def _check_units(sheet: Sheet, columns: list[TimeColumn | None]) -> None:
    frames = next((column for column in columns if column is not None and column.unit is None), None)
    if frames is not None:
        raise DataError(
            f"{sheet.origin}: the length of a frame in column {frames.name!r} is unknown. Rename the column if its "
            "frames are samples (start_sample), convert it to seconds, or add --start_column_name none to use whole "
            "recordings"
        )


def _is_nothing(cell: object) -> bool:
    return is_missing(cell) or cell in (0, "0", "0.0")


def _explain(sheet: Sheet, events: EventColumns, found: list[TimeColumn]) -> None:
    """Explain in the sheet how each column was read, and which columns were not used."""
    parts = []
    for column, role in ((events.start, START), (events.end, END), (events.duration, DURATION)):
        if column is None:
            continue
        why = "of its name"
        if column.role == OFFSET:
            assert events.start is not None
            beside = events.start if role == END else events.end or events.duration
            why = f"there is a column `{beside.name}`" if beside else "NeMo manifests use it this way"
        parts.append(f"column `{column.name}` was read as the {role} of the event, {column.in_words()}, because {why}")
    used = set(events.used())
    others = [column.name for column in found if column.name not in used and column.name != "duration"]
    is_usual = used <= {"offset", "duration"}
    for part in parts:
        sheet.explain(part, is_obvious=is_usual)
    if others and used:
        what = f"{', '.join(others)} {agreeing(len(others), 'were')} not used"
        sheet.explain(f"{what} because start and end are in other columns", is_obvious=False)
    elif others:
        what = f"{', '.join(others)} {agreeing(len(others), 'were')} not used"
        sheet.explain(f"{what} because there is no start column", is_obvious=False)
    elif any(column.name == "duration" for column in found) and not used:
        sheet.explain("column `duration` was not used because without a start it may be the length of the recording")


def cuts(
    sheet: Sheet, events: EventColumns, rate_hz: Callable[[int], float | None], faults: Faults
) -> tuple[list[float], list[float | None]]:
    """Return start and length of each clip, in seconds. A length of ``None`` means the rest of the recording.

    Args:
        sheet: a table of N rows.
        events: its time columns.
        rate_hz: returns the sampling rate of a row's recording; ``None`` if unreadable.
        faults: collects rows with impossible times.
    """
    starts = _seconds(sheet, events.start, rate_hz, faults)
    lengths = _seconds(sheet, events.duration, rate_hz, faults)
    offsets = [start or 0.0 for start in starts]
    for index, start in enumerate(offsets):
        if start < 0:
            faults.add(index, CellError(f"the start {start:g} s is before the recording", "Correct the row", "start"))
    if events.end is None:
        return offsets, lengths
    ends = _seconds(sheet, events.end, rate_hz, faults)
    for index, (start, end) in enumerate(zip(offsets, ends, strict=True)):
        if end is None:
            continue
        if end <= start:
            fault = f"the end {end:g} s is not after the start {start:g} s"
            faults.add(index, CellError(fault, "Correct the row or remove it", "end"))
        lengths[index] = round(end - start, _DIGITS)
    return offsets, lengths


def _seconds(
    sheet: Sheet, column: TimeColumn | None, rate_hz: Callable[[int], float | None], faults: Faults
) -> list[float | None]:
    if column is None:
        return [None] * len(sheet)
    if column.unit != SAMPLES:
        sheet.read_decimal_commas(column.name, even_thousands=column.unit == 1.0)
    values = convert(sheet.columns[column.name], lambda cell: _time(cell, column), faults)
    if column.unit == SAMPLES:
        return [
            None if value is None or not (rate := rate_hz(i)) else round(value / rate, _DIGITS)
            for i, value in enumerate(values)
        ]
    assert isinstance(column.unit, float)
    return values if column.unit == 1.0 else [None if v is None else round(v * column.unit, _DIGITS) for v in values]


def _time(cell: Any, column: TimeColumn) -> float | None:
    """Return a time in the unit of its column; ``hours:minutes:seconds`` becomes seconds."""
    if is_missing(cell):
        return None
    if isinstance(cell, str) and column.unit == 1.0 and (clock := _CLOCK.fullmatch(cell.strip())):
        hours, minutes, rest = clock.groups()
        return int(hours or 0) * 3600 + int(minutes) * 60 + float(rest)
    try:
        number = float(cell)
    except (TypeError, ValueError, OverflowError) as exc:
        unit = "seconds" if column.unit == 1.0 else column.in_words().removeprefix("in ")
        comma = isinstance(cell, str) and re.fullmatch(r"\d+,\d+", cell.strip())
        fix = "Write it with a decimal point" if comma else "Correct the cell, or use --start_column_name none"
        raise CellError(f"the {column.name} {cell!r:.60} is not a number of {unit}", fix, column.name) from exc
    if number != number or number in (float("inf"), float("-inf")):
        raise CellError(f"the {column.name} {cell!r} is not a finite number", "Correct the cell", column.name)
    return number
