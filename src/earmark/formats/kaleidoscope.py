"""CSV of Kaleidoscope Pro (Wildlife Acoustics). Source: its user guide, columns of ``meta.csv`` and ``id.csv``."""

from __future__ import annotations

import os

from earmark.formats.cell_text import is_missing
from earmark.formats.format import Format, SegmentRows, Writer, score_text, seconds_text
from earmark.formats.segments import Segment
from earmark.formats.sheet import Sheet
from earmark.io.csv_rows import csv_row

_ABOVE, _FOLDER, _FILE = "INDIR", "FOLDER", "IN FILE"
_OFFSET, _DURATION, _MATCH = "OFFSET", "DURATION", "TOP1MATCH"
_CHECKED = "MANUAL ID"  # entered by a person
_CLASSIFIED = (_MATCH, "AUTO ID", "AUTO ID*")  # filled in by Kaleidoscope: clusters, and species of bats


class KaleidoscopeRows(SegmentRows):
    """One row per segment. It starts with the folder above the recording's folder, that folder, and the file."""

    def head(self) -> str:
        """Return the column names."""
        return csv_row([_ABOVE, _FOLDER, _FILE, "CHANNEL", _OFFSET, _DURATION, _MATCH, "SCORE"])

    def segment(self, source: str, segment: Segment) -> str:
        """Return one row."""
        folder, name = os.path.split(os.path.abspath(source))
        above, folder_name = os.path.split(folder)
        times = [seconds_text(segment.start_s), seconds_text(segment.end_s - segment.start_s)]
        return csv_row([above, folder_name, name, "0", *times, segment.label, score_text(segment.score)])


def is_kaleidoscope(sheet: Sheet) -> bool:
    """Return whether a table has Kaleidoscope's columns for a recording and a part of it."""
    return {_ABOVE, _FOLDER, _FILE, _OFFSET} <= set(sheet.columns)


def interpret_kaleidoscope(sheet: Sheet) -> None:
    """Join the parts of the path, and choose the class column."""
    sheet.explain(f"read as a table of Kaleidoscope because it has the columns {_ABOVE}, {_FOLDER}, {_FILE}, {_OFFSET}")
    above, folders, files = (sheet.columns[name] for name in (_ABOVE, _FOLDER, _FILE))
    whole = [os.path.join(*parts) for parts in zip(above, folders, files, strict=True)]
    if any(map(os.path.exists, dict.fromkeys(whole))):  # a deleted recording must not change the others
        sheet.columns["path"] = whole
    else:  # the table was made on another machine
        sheet.columns["path"] = [os.path.join(*parts) for parts in zip(folders, files, strict=True)]
        sheet.explain(f"column `{_ABOVE}` was not used because none of the recordings is there")
    if "label" not in sheet.columns and (column := _label_column(sheet)) is not None:
        sheet.columns["label"] = sheet.columns[column]


def _label_column(sheet: Sheet) -> str | None:
    """Return the class column: the one that a person filled in, if it is complete, else the one from Kaleidoscope."""
    found = next((name for name in _CLASSIFIED if name in sheet.columns), None)
    checked = [not is_missing(cell) for cell in sheet.columns.get(_CHECKED, [])]
    if not any(checked):
        return found
    if all(checked) or found is None:
        sheet.explain(f"column `{_CHECKED}` was read as the label because a person filled it in", is_obvious=False)
        return _CHECKED
    sheet.explain(
        f"column `{found}` was read as the label because `{_CHECKED}` is filled in only {sum(checked):,} of "
        f"{len(checked):,} rows. To use these rows only, add --label_column_name '{_CHECKED}' --on_missing_label skip",
        is_obvious=False,
    )
    return found


KALEIDOSCOPE = Format(
    name="kaleidoscope",
    recognises=is_kaleidoscope,
    interpret=interpret_kaleidoscope,
    writer=Writer(KaleidoscopeRows, whole_recordings=False),
)
