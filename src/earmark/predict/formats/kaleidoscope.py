"""CSV for Kaleidoscope Pro (Wildlife Acoustics). Source: its user guide, columns of ``meta.csv`` and ``id.csv``."""

from __future__ import annotations

import os

from earmark.files import csv_row
from earmark.predict.formats.format import SegmentRows, score_text, seconds_text
from earmark.predict.timeline import Segment


class KaleidoscopeRows(SegmentRows):
    """One row for each segment; the folder above the recording's folder, that folder and the file are columns."""

    def head(self) -> str:
        """Return the column names."""
        return csv_row(["INDIR", "FOLDER", "IN FILE", "CHANNEL", "OFFSET", "DURATION", "TOP1MATCH", "SCORE"])

    def segment(self, source: str, segment: Segment) -> str:
        """Return one row."""
        folder, name = os.path.split(os.path.abspath(source))
        above, folder_name = os.path.split(folder)
        times = [seconds_text(segment.start_s), seconds_text(segment.end_s - segment.start_s)]
        return csv_row([above, folder_name, name, "0", *times, segment.label, score_text(segment.score)])
