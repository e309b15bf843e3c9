"""Selection tables of Raven. Sources: Raven Pro's user manual; columns of BirdNET-Analyzer's combined tables."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from earmark.formats.cell_text import is_missing
from earmark.formats.format import Format, RowSettings, SegmentRows, Writer, in_one_line, score_text
from earmark.formats.recording_name import name_recording
from earmark.formats.segments import Segment
from earmark.formats.sheet import Sheet

_SELECTION, _VIEW = "Selection", "View"
_BEGIN, _END, _OFFSET = "Begin Time (s)", "End Time (s)", "File Offset (s)"
_PATH, _FILE = "Begin Path", "Begin File"
_COLUMNS = (
    *(_SELECTION, _VIEW, "Channel", _BEGIN, _END, "Low Freq (Hz)", "High Freq (Hz)"),
    *(_PATH, _FILE, _OFFSET, "Annotation", "Score"),
)


class RavenRows(SegmentRows):
    """One row per selection, in the spectrogram view, from 0 Hz to half the model's sampling rate.

    All times and frequencies have decimals, because readers such as crowsetta infer integers from whole numbers and
    then reject the column. In a table of one recording, selections are numbered from 1 and times count from its
    start. In one table for many recordings, numbers continue and ``Begin Time (s)`` counts through all recordings
    in order, because Raven opens them as one sequence of files. ``File Offset (s)`` is the start in the recording.
    ``Begin Path`` is absolute, so that it is valid wherever the table is opened.
    """

    def __init__(self, settings: RowSettings) -> None:
        super().__init__(settings)
        self._selections = 0
        self._before_s = 0.0  # length of the recordings before this one

    def head(self) -> str:
        """Return the column names."""
        return "\t".join(_COLUMNS) + "\n"

    def start(self, source: str) -> None:
        """Restart the numbers at 1 unless all recordings share a table."""
        if not self.settings.one_table:
            self._selections, self._before_s = 0, 0.0

    def segment(self, source: str, segment: Segment) -> str:
        """Return one selection."""
        self._selections += 1
        times = [f"{self._before_s + seconds:.6f}" for seconds in (segment.start_s, segment.end_s)]
        cells = [str(self._selections), "Spectrogram 1", "1", *times]
        cells += ["0.0", f"{self.settings.sampling_rate_hz / 2:.1f}", *_path_cells(source)]
        return "\t".join([*cells, f"{segment.start_s:.6f}", _cell(segment.label), score_text(segment.score)]) + "\n"

    def end(self, duration_s: float) -> None:
        """Make the times of the next recording start where this one ends."""
        self._before_s += duration_s

    def state(self) -> dict[str, object]:
        """Return the number of selections and the total length of the recordings so far."""
        return {"selections": self._selections, "before_s": self._before_s} if self.settings.one_table else {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the number of selections and the total length."""
        self._selections, self._before_s = int(state.get("selections", 0)), float(state.get("before_s", 0.0))


def _cell(text: str) -> str:
    """Return text for a cell, without line breaks, tabs, and quotes, which readers would interpret."""
    return in_one_line(text).replace('"', "'")


def _path_cells(source: str) -> list[str]:
    """Return ``Begin Path`` and ``Begin File``."""
    return [_path_cell(os.path.abspath(source)), _path_cell(os.path.basename(source))]


def _path_cell(path: str) -> str:
    """Return a path for a cell. Blanks and quotes are kept, because they are part of the name.

    Readers interpret a quote only at the start of a cell. A tab or a line end would end the cell.
    """
    text = re.sub(r"[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]", " ", path)
    return "'" + text[1:] if text.startswith('"') else text


def loses_path(source: str) -> bool:
    """Return whether a selection table cannot store the path of a recording unchanged."""
    path = os.path.abspath(source)
    return _path_cell(path) != path


def is_selection_table(sheet: Sheet) -> bool:
    """Return whether a table has the columns of Raven's selection tables."""
    return {_SELECTION, _BEGIN, _END} <= set(sheet.columns)


def interpret_selections(sheet: Sheet) -> None:
    """Make one row per selection, with its recording and with times in this recording.

    Raven writes a selection once per view (waveform, spectrogram), so only its rows for one view are kept. If several
    recordings are open together, begin and end count from the start of the first recording, but ``File Offset (s)``
    counts from the start of the recording with the selection.
    """
    sheet.explain(f"read as a selection table of Raven because it has the columns {_SELECTION}, {_BEGIN}, {_END}")
    for name in (_BEGIN, _END, _OFFSET):
        if name in sheet.columns:
            sheet.read_decimal_commas(name, even_thousands=True)
    _keep_one_view(sheet)
    if _OFFSET in sheet.columns:
        lengths = [_minus(end, begin) for begin, end in zip(sheet.columns[_BEGIN], sheet.columns[_END], strict=True)]
        sheet.columns[_BEGIN] = sheet.columns[_OFFSET]
        sheet.columns[_END] = [_minus(begin, f"-{n}") for begin, n in zip(sheet.columns[_BEGIN], lengths, strict=True)]
        sheet.explain(f"{_BEGIN} and {_END} count from the start of each recording because of {_OFFSET}")
    paths = sheet.columns.get(_PATH, [""])
    if any(map(is_missing, paths)):
        if _FILE not in sheet.columns:
            name_recording(sheet, f"there is no column {_FILE}")
    elif any(map(os.path.exists, dict.fromkeys(paths))):  # a deleted recording must not change the others
        sheet.columns["path"] = paths
        sheet.explain(f"column `{_PATH}` was read as the recording because its files exist")
    elif _FILE not in sheet.columns:
        # BirdNET-Analyzer writes no Begin File, and the table may have been made on another machine, also on Windows.
        sheet.columns["path"] = [re.split(r"[/\\]", path)[-1] for path in paths]
        sheet.explain(
            f"the file names in column `{_PATH}` were read as the recordings because its files do not exist",
            is_obvious=False,
        )


def _keep_one_view(sheet: Sheet) -> None:
    if _VIEW not in sheet.columns:
        return
    names = [_SELECTION, _BEGIN, _END, *(name for name in (_PATH, _FILE) if name in sheet.columns)]
    views: dict[tuple[str, ...], str] = {}
    keys = zip(*(sheet.columns[name] for name in names), strict=True)
    rows = enumerate(zip(keys, sheet.columns[_VIEW], strict=True))
    kept = [index for index, (key, view) in rows if views.setdefault(key, view) == view]
    if len(kept) < len(sheet):
        sheet.explain(
            f"{len(sheet):,} rows were read as {len(kept):,} selections because Raven lists each once per {_VIEW}"
        )
        sheet.keep(kept)


def _minus(first: str, second: str) -> str:
    try:
        return repr(round(float(first) - float(second.replace("--", "")), 9))
    except ValueError:
        return "" if is_missing(first) or is_missing(second) else first


RAVEN = Format(
    name="raven",
    recognises=is_selection_table,
    interpret=interpret_selections,
    writer=Writer(
        RavenRows,
        table_ending=".selections.txt",
        whole_recordings=False,
        counts_through=True,
        label=_cell,
        loses_path=loses_path,
    ),
)
