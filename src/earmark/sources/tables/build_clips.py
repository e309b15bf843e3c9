"""Convert a sheet to clips: choose the columns, interpret their cells, find the recordings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from earmark.audio.decode import own_rate_hz, stream_at_own_rate
from earmark.clips.clip import Clip, ClipTable, Label
from earmark.clips.columns import Columns, FoundColumns, find_columns, missing_label_column
from earmark.errors import AudioError, DataError
from earmark.formats.cell_text import is_missing
from earmark.formats.format_registry import interpret
from earmark.formats.sheet import CellError, Faults, Sheet, convert
from earmark.sources.tables.cells import no_label, parse_label, plain_value, text_or_none
from earmark.sources.tables.events import EventColumns, cuts, find_events
from earmark.sources.tables.locate import Locator
from earmark.sources.tables.nested import flatten_recordings
from earmark.sources.tables.one_hot import (
    check_one_label_each,
    class_columns,
    columns_asked_for,
    labels_in_columns,
    merge_rows,
)
from earmark.text import agreeing, counted

_ONE_HOT = "label"  # name of the column that replaces one-hot columns
_OTHER_SEPARATORS = (",", ";", "|", "/", " ")


def list_clips(sheet: Sheet, wanted: Columns) -> ClipTable:
    """Return the clips of a table.

    Args:
        sheet: the table. Rules are added to its reasons, and rows without a label are removed if the user asked for
            that.
        wanted: columns to use, and how to read their cells.

    Raises:
        DataError: the table has no rows or lacks a column, or rows have no recording or usable label. The message names
            the first such row and counts the others.
    """
    if not len(sheet):
        raise DataError(f"{sheet.origin}: has no rows. Add some")
    interpret(sheet)
    one_hot = columns_asked_for(sheet, wanted)
    found = _find(sheet, wanted, one_hot)
    sheet.reasons += found.reasons
    flatten_recordings(sheet, found.audio)
    events = find_events(sheet, wanted, found.audio, found.used())
    if found.label is None:
        found = _with_class_columns(sheet, wanted, found, events, one_hot)
    labels = _labels(sheet, wanted, found)
    recordings, missing = _recordings(sheet, found.audio, wanted)
    clips = _clips(sheet, found, events, labels, recordings)
    if wanted.task.has_several:
        clips = merge_rows(clips, sheet)
        _explain_separator(sheet, found, wanted)
    elif wanted.task.has_one_class:
        check_one_label_each(clips, sheet)
    return ClipTable(clips, sheet.origin, tuple(dict.fromkeys(sheet.reasons)), missing)


def _find(sheet: Sheet, wanted: Columns, one_hot: list[str]) -> FoundColumns:
    """Find the columns. A missing label column is handled by :func:`_with_class_columns`."""
    if one_hot or wanted.label == Columns.label:
        wanted = replace(wanted, label=Columns.label, needs_labels=False)
    return find_columns(list(sheet.columns), wanted, sheet.origin)


def _with_class_columns(
    sheet: Sheet, wanted: Columns, found: FoundColumns, events: EventColumns, one_hot: list[str]
) -> FoundColumns:
    """Use columns of 0 and 1 as labels if there is no other label column."""
    names = one_hot or (class_columns(sheet, [*found.used(), *events.used()]) if wanted.task.has_classes else [])
    if names:
        sheet.columns[_ONE_HOT] = labels_in_columns(sheet, names, wanted, is_asked=bool(one_hot))
        for name in names:
            if name != _ONE_HOT:
                del sheet.columns[name]
        return replace(found, label=_ONE_HOT)
    if wanted.needs_labels:
        raise missing_label_column(sheet.origin, wanted, sheet.columns)
    return found


# ---------------------------------------------------------------- labels


def _labels(sheet: Sheet, wanted: Columns, found: FoundColumns) -> list[Label | None]:
    """Return the label of each row. Remove rows without one from the sheet if the user asked for that."""
    if found.label is None:
        return [None] * len(sheet)
    column, names = found.label, sheet.class_names.get(found.label)
    if sheet.is_text and wanted.task.has_one_class and isinstance(sheet.columns[column][0], str):
        _check_labels_are_classes(sheet, column)
    if not wanted.task.has_classes:
        sheet.read_decimal_commas(column)
    faults = Faults(sheet.where)
    missing: set[int] = set()
    labels: list[Label | None] = convert(sheet.columns[column], lambda cell: parse_label(cell, wanted, names), faults)
    faults.raise_first()
    missing = {index for index, label in enumerate(labels) if label is None}
    if missing and wanted.skip_missing_labels:
        kept = [index for index in range(len(sheet)) if index not in missing]
        if not kept:
            raise DataError(f"{sheet.origin}: no row has a label in column {column!r}. Add labels")
        sheet.explain(
            f"{len(missing):,} of {counted(len(sheet), 'row')} {agreeing(len(missing), 'were')} ignored because column "
            f"{column!r} is empty there (--on_missing_label skip)",
            is_obvious=False,
        )
        sheet.keep(kept)
        return [labels[index] for index in kept]
    if missing and wanted.needs_labels:
        for index in sorted(missing):
            cell = sheet.columns[column][index]
            error = no_label(wanted, column)
            if isinstance(cell, str) and cell:
                error = CellError(f"{error.fault}: {cell} means a missing label", error.fix)
            faults.add(index, error)
        faults.raise_first()
    return labels


def _check_labels_are_classes(sheet: Sheet, column: str) -> None:
    """Reject a CSV column of numbers that are not all whole, because it contains measurements, not classes."""
    fraction = None
    for cell in dict.fromkeys(sheet.columns[column]):
        if is_missing(cell):
            continue
        try:
            number = float(cell)
        except (TypeError, ValueError):
            return
        if not number.is_integer():
            fraction = fraction or cell
    if fraction:
        index = sheet.columns[column].index(fraction)
        raise DataError(
            f"{sheet.origin}: column {column!r} holds measurements ({sheet.where(index)} has {fraction}), not classes. "
            "Choose the class column with --label_column_name, or add --task regression to predict numbers"
        )


def _explain_separator(sheet: Sheet, found: FoundColumns, wanted: Columns) -> None:
    """Suggest another separator in the sheet, if no label contains the given one and at least half contain another."""
    if found.label is None:
        return
    cells = [cell for cell in sheet.columns[found.label] if isinstance(cell, str) and cell and cell[0] not in "[({"]
    if not cells or any(wanted.separator in cell for cell in cells):
        return
    for other in _OTHER_SEPARATORS:
        count = sum(other in cell for cell in cells)
        if 2 * count >= len(cells):
            sheet.explain(
                f"{counted(count, 'cell')} of column `{found.label}` {agreeing(count, 'were')} read as one label each, "
                f"such as {cells[0]!r}; if {other!r} separates labels there, add --label_separator {other!r}",
                is_obvious=False,
            )
            return


# ---------------------------------------------------------------- clips


# a recording: its name, and a path or a function that returns its bytes
_Recording = tuple[str, str | None, Callable[[], bytes] | None]


def _recordings(sheet: Sheet, column: str, wanted: Columns) -> tuple[list[_Recording], str | None]:
    """Return the recordings, and an error message if none was found."""
    locator = Locator(sheet, wanted.audio_dir)
    faults = Faults(sheet.where)
    recordings: list[_Recording] = []
    find = locator.find
    known: dict[str, _Recording] = {}
    for index, cell in enumerate(sheet.columns[column]):
        if type(cell) is not str:
            if callable(cell):
                recordings.append((sheet.where(index), None, cell))
                continue
            cell = _as_text(cell)
        recording = known.get(cell)
        if recording is None:
            try:
                recording = known[cell] = (cell, find(index, _path(cell, column)), None)
            except CellError as exc:
                faults.add(index, exc)
                continue
        recordings.append(recording)
    faults.raise_first()
    return recordings, locator.report()


def _as_text(cell: object) -> object:
    """Return the path in a cell that is not text, such as an integer ID."""
    is_id = isinstance(cell, int) and not isinstance(cell, bool)
    return str(cell) if is_id else cell if isinstance(cell, str) else ""


def _path(cell: str, column: str) -> str:
    if cell and not cell.isspace():
        return cell
    raise CellError(f"column {column!r} has no path of a recording", "Name the recording, or remove the row", "no path")


def _clips(
    sheet: Sheet,
    found: FoundColumns,
    events: EventColumns,
    labels: Sequence[Label | None],
    recordings: Sequence[_Recording],
) -> list[Clip]:
    offsets: Sequence[float] = [0.0] * len(sheet)
    durations: Sequence[float | None] = [None] * len(sheet)
    if events.used():
        faults = Faults(sheet.where)
        offsets, durations = cuts(sheet, events, _rates(recordings), faults)
        faults.raise_first()
    groups, folds = (_texts(sheet, column) for column in (found.group, found.fold))
    used = {*found.used(), *events.used()}
    others = {name: _plain(sheet, name) for name in sheet.columns if name and name not in used}
    rows = zip(*others.values(), strict=True) if others else iter([()] * len(sheet))
    names = tuple(others)
    return [
        Clip(
            source,
            label,
            path,
            read_bytes,
            group,
            fold,
            offset_s,
            duration_s,
            dict(zip(names, row, strict=True)),
        )
        for (source, path, read_bytes), label, group, fold, offset_s, duration_s, row in zip(
            recordings, labels, groups, folds, offsets, durations, rows, strict=True
        )
    ]


def _texts(sheet: Sheet, column: str | None) -> list[str | None]:
    """Return the groups or folds of all rows."""
    return [None] * len(sheet) if column is None else convert(sheet.columns[column], text_or_none, Faults(sheet.where))


def _plain(sheet: Sheet, column: str) -> list[str | float | None]:
    """Return the cells of an unused column, with class names instead of class numbers."""
    names = sheet.class_names.get(column)
    if names is None:
        return convert(sheet.columns[column], plain_value, Faults(sheet.where))
    return [
        names[cell] if isinstance(cell, int) and 0 <= cell < len(names) else plain_value(cell)
        for cell in sheet.columns[column]
    ]


def _rates(recordings: Sequence[_Recording]) -> Callable[[int], float | None]:
    """Return a function that returns the sampling rate of a row's recording and opens each file once."""
    known: dict[str, float | None] = {}

    def rate_hz(index: int) -> float | None:
        source, path, read_bytes = recordings[index]
        key = path or source
        if key not in known:
            clip = Clip(source, path=path, read_bytes=read_bytes)
            try:
                known[key] = own_rate_hz(clip) or next(stream_at_own_rate(clip))[1]
            except AudioError:  # reported later with the other unusable recordings
                known[key] = None
        return known[key]

    return rate_hz
