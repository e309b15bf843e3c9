"""Label tracks of Audacity. Source: Audacity's manual, "Importing and Exporting Labels"."""

from __future__ import annotations

import re
from pathlib import Path

from earmark.formats.format import Format, SegmentRows, Wanted, Writer, in_one_line
from earmark.formats.recording_name import name_recording
from earmark.formats.segments import Segment
from earmark.formats.sheet import Sheet
from earmark.formats.text_encoding import decoded_text

_COLUMNS = ("start", "end", "label", "score")
_NUMBER = r"-?\d+(?:[.,]\d+)?"  # in a project, a label may be before 0 s
# start, end and label; BirdNET-Analyzer appends its confidence
_LINE = re.compile(rf"{_NUMBER}\t{_NUMBER}(?:\t[^\t]*(?:\t{_NUMBER})?)?")


class AudacityRows(SegmentRows):
    """Rows with start, end and label, separated by tabs.

    ``append_score`` appends the score to the label. For a regression, the number is always appended, because the label
    is only the name of the number.
    """

    def segment(self, source: str, segment: Segment) -> str:
        """Return one line."""
        label = in_one_line(segment.label)
        if self.settings.append_score or self.settings.number:
            label = f"{label} {segment.score:.2f}"
        return f"{segment.start_s:.6f}\t{segment.end_s:.6f}\t{label}\n"


def read_label_track(path: Path, wanted: Wanted) -> Sheet | None:
    """Read a label track (start, end and label without a header); ``None`` if the file is something else.

    Raises:
        DataError: the file cannot be read.
    """
    text, reasons = decoded_text(path)
    # lines that start with a backslash are the frequencies of the label above
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip() and line[0] != "\\"]
    if not all(_LINE.fullmatch(line) for _, line in lines):
        return None
    cells = [[*line.split("\t"), "", ""][: len(_COLUMNS)] for _, line in lines]
    columns = {name: [row[place].strip() for row in cells] for place, name in enumerate(_COLUMNS)}
    if not any(columns["score"]):
        del columns["score"]
    sheet = Sheet(str(path), str(path.parent), columns, [number for number, _ in lines], reasons, is_text=True)
    sheet.explain("read as a label track of Audacity because each line is start, end and label")
    name_recording(sheet, "label tracks do not name their recording")
    return sheet


AUDACITY = Format(
    name="audacity",
    named_suffixes=(".txt",),
    read=read_label_track,
    writer=Writer(
        AudacityRows,
        table_ending=".labels.txt",
        has_path=False,
        has_score=False,
        whole_recordings=False,
        label=in_one_line,
    ),
)
