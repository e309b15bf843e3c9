"""Rich Transcription Time Marked. Source: NIST's RT-09 evaluation plan, appendix A."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from earmark.errors import DataError
from earmark.formats.format import Format, SegmentRows, Wanted, Writer, score_text
from earmark.formats.output_names import read_names
from earmark.formats.segments import Segment
from earmark.formats.sheet import Sheet
from earmark.formats.text_encoding import decoded_text
from earmark.text import agreeing, counted

_TYPE = "SPEAKER"
_NOTHING = "<NA>"
# position of the fields that are read
_FIELDS = {"path": 1, "start": 3, "duration": 4, "label": 7, "score": 8}
_LEAST = 8  # minimum fields per line; score and lookahead are optional


class RttmRows(SegmentRows):
    """One SPEAKER line per segment. Blanks in fields become underscores."""

    def segment(self, source: str, segment: Segment) -> str:
        """Return one line: file, channel, onset, duration, class, score."""
        file_id = self.settings.ids.get(source) or _field(os.path.splitext(source)[0])
        length_s = segment.end_s - segment.start_s
        return (
            f"{_TYPE} {file_id} 1 {segment.start_s:.3f} {length_s:.3f} {_NOTHING} {_NOTHING} {_field(segment.label)} "
            f"{score_text(segment.score)} {_NOTHING}\n"
        )


def file_ids(sources: Sequence[str]) -> dict[str, str]:
    """Return a unique ID for each recording.

    The ID is the path without its suffix; with the suffix if two IDs would be equal (``rec.wav``, ``rec.flac``);
    with a number if they still are (``a b.wav``, ``a_b.wav``).
    """
    short = {source: _field(os.path.splitext(source)[0]) for source in sources}
    counts = Counter(short.values())
    ids: dict[str, str] = {source: name for source, name in short.items() if counts[name] == 1}
    used = set(ids.values())
    for source in sources:
        if source in ids:
            continue
        name = whole = _field(source)
        number = 1
        while name in used:
            number += 1
            name = f"{whole}~{number}"
        ids[source] = name
        used.add(name)
    return ids


def _field(text: str) -> str:
    return re.sub(r"\s", "_", text) or "_"


def read_rttm(path: Path, wanted: Wanted) -> Sheet:
    """Read the SPEAKER lines, which have the recording, its part and the class.

    The ID of a recording is its path without suffix, or is listed with its path in the table of names next to the file
    (:mod:`earmark.formats.output_names`).

    Raises:
        DataError: the file cannot be read or has no such line, or a line has too few fields.
    """
    text, reasons = decoded_text(path)
    rows: list[tuple[int, list[str]]] = []
    others = 0
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.split()
        if not fields or fields[0].startswith(";"):
            continue
        if fields[0] != _TYPE:
            others += 1
            continue
        if len(fields) < _LEAST:
            raise DataError(
                f"{path} row {number}: {counted(len(fields), 'field')}, but a {_TYPE} line of RTTM has at least "
                f"{_LEAST}. Correct the line, or remove it"
            )
        rows.append((number, [*fields, _NOTHING]))
    if not rows:
        raise DataError(f"{path}: has no {_TYPE} lines of RTTM. Correct the file, or rename it to its real format")
    names = read_names(path)
    columns = {name: [fields[place] for _, fields in rows] for name, place in _FIELDS.items()}
    columns["path"] = [names.get(name, name) for name in columns["path"]]
    columns["score"] = ["" if cell == _NOTHING else cell for cell in columns["score"]]
    sheet = Sheet(str(path), str(path.parent), columns, [number for number, _ in rows], reasons, is_text=True)
    sheet.explain("read as RTTM because of its suffix: each line has recording, start, duration and class")
    if others:
        were = agreeing(others, "were")
        sheet.explain(f"{counted(others, 'line')} without the type {_TYPE} {were} ignored", is_obvious=False)
    return sheet


RTTM = Format(
    name="rttm",
    named_suffixes=(".rttm",),
    read=read_rttm,
    writer=Writer(RttmRows, suffix=".rttm", whole_recordings=False, label=_field, ids=file_ids),
)
