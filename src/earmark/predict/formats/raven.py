"""Selection tables for Raven. Sources: Raven Pro's user manual; the columns of BirdNET-Analyzer's combined tables."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from earmark.predict.formats.format import RowSettings, SegmentRows, in_one_line, score_text
from earmark.predict.timeline import Segment

_COLUMNS = (
    *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"),
    *("Begin Path", "Begin File", "File Offset (s)", "Annotation", "Score"),
)


class RavenRows(SegmentRows):
    """One row for each selection, in the spectrogram view, from 0 Hz to half the model's sampling rate.

    All times and frequencies have decimals: readers such as crowsetta take a column of whole numbers for integers and
    refuse it. In a table of one recording, selections are numbered from 1 and times are those of the recording. In one
    table for many recordings, numbers continue, and ``Begin Time (s)`` counts through all recordings in their order,
    because Raven opens them as one sequence of files; ``File Offset (s)`` is the start within the recording.
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
        """Number from 1 unless all recordings share a table."""
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
        """Let the times of the next recording begin where this one ends."""
        self._before_s += duration_s

    def state(self) -> dict[str, Any]:
        """Return the number of selections and the length of the recordings so far, for one table."""
        return {"selections": self._selections, "before_s": self._before_s} if self.settings.one_table else {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue numbers and times."""
        self._selections, self._before_s = int(state.get("selections", 0)), float(state.get("before_s", 0.0))


def _cell(text: str) -> str:
    """Return text for a cell: without line ends and tabs, and without quotes, which readers take for quoting."""
    return in_one_line(text).replace('"', "'")


def _path_cells(source: str) -> list[str]:
    """Return ``Begin Path`` and ``Begin File``."""
    return [_path_cell(os.path.abspath(source)), _path_cell(os.path.basename(source))]


def _path_cell(path: str) -> str:
    """Return a path for a cell: blanks and quotes stay, because they are part of the name.

    Readers take a quote for quoting only at the start of a cell. A tab or a line end would end the cell.
    """
    text = re.sub(r"[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]", " ", path)
    return "'" + text[1:] if text.startswith('"') else text


def loses_path(source: str) -> bool:
    """Whether a selection table cannot have the path of a recording as it is."""
    path = os.path.abspath(source)
    return _path_cell(path) != path
