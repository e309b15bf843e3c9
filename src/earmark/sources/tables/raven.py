"""Selection tables of Raven and label tracks of Audacity: how they are recognized and read."""

from __future__ import annotations

import os
import re
from pathlib import Path

from earmark.sources.tables.cells import is_missing
from earmark.sources.tables.sheet import Sheet
from earmark.sources.tables.text import decoded_text

_BEGIN, _END, _OFFSET = "Begin Time (s)", "End Time (s)", "File Offset (s)"
_SELECTION, _VIEW = "Selection", "View"
_FILE, _PATH = "Begin File", "Begin Path"
# what Raven, BirdNET and earmark put between the name of a recording and the suffix of its table
_ADDED = re.compile(r"\.(Table\.\d+|selections?|BirdNET|raven|labels?)\b.*$", re.IGNORECASE)
_LABEL_TRACK = re.compile(r"\d+(?:[.,]\d+)?\t\d+(?:[.,]\d+)?(?:\t[^\t]*)?")


def is_selection_table(sheet: Sheet) -> bool:
    """Whether a table has the columns that Raven gives every selection table."""
    return {_SELECTION, _BEGIN, _END} <= set(sheet.columns)


def apply_raven_rules(sheet: Sheet) -> None:
    """Make one row for each selection, with a recording and with times in this recording.

    Raven writes a selection once for each view (waveform, spectrogram). Its times count from the start of the first of
    the recordings that are open together; ``File Offset (s)`` counts from the start of the selection's own recording.
    """
    sheet.explain(f"read as a selection table of Raven because it has the columns {_SELECTION}, {_BEGIN}, {_END}")
    _keep_one_view(sheet)
    if _OFFSET in sheet.columns:
        lengths = [_minus(end, begin) for begin, end in zip(sheet.columns[_BEGIN], sheet.columns[_END], strict=True)]
        sheet.columns[_BEGIN] = sheet.columns[_OFFSET]
        sheet.columns[_END] = [_minus(begin, f"-{n}") for begin, n in zip(sheet.columns[_BEGIN], lengths, strict=True)]
        sheet.explain(f"{_BEGIN} and {_END} count from the start of each recording because of {_OFFSET}")
    paths = sheet.columns.get(_PATH)
    if paths is not None and all(map(os.path.exists, paths)):
        sheet.columns["path"] = paths
        sheet.explain(f"column `{_PATH}` was read as the recording because all its files are there")
    elif _FILE not in sheet.columns:
        _name_recording(sheet, f"there is no column {_FILE}")


def _keep_one_view(sheet: Sheet) -> None:
    if _VIEW not in sheet.columns:
        return
    names = [_SELECTION, _BEGIN, _END, *(name for name in (_FILE,) if name in sheet.columns)]
    first: dict[tuple[str, ...], int] = {}
    for index, key in enumerate(zip(*(sheet.columns[name] for name in names), strict=True)):
        first.setdefault(key, index)
    if len(first) < len(sheet):
        sheet.explain(f"{len(first):,} selections in {len(sheet):,} rows: each read once, whatever its {_VIEW}")
        sheet.keep(list(first.values()))


def _minus(first: str, second: str) -> str:
    try:
        return repr(round(float(first) - float(second.replace("--", "")), 9))
    except ValueError:
        return "" if is_missing(first) or is_missing(second) else first


def _name_recording(sheet: Sheet, why: str) -> None:
    stem = _ADDED.sub("", Path(sheet.origin).stem)
    sheet.columns["path"] = [stem] * len(sheet)
    sheet.explain(f"all rows are about the recording called {stem}, like the table, because {why}", is_obvious=False)


def read_label_track(path: Path) -> Sheet | None:
    """Read a label track of Audacity (start, end and label without a header); ``None`` if the file is none.

    Raises:
        DataError: the file cannot be read.
    """
    text, reasons = decoded_text(path)
    # the lines that begin with a backslash are the frequencies of the label above
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip() and line[0] != "\\"]
    if not all(_LABEL_TRACK.fullmatch(line) for _, line in lines):
        return None
    cells = [[*line.split("\t"), ""][:3] for _, line in lines]
    columns = {name: [cell[index].strip() for cell in cells] for index, name in enumerate(("start", "end", "label"))}
    for name in ("start", "end"):  # Audacity writes 0,5 where the language of the system does
        columns[name] = [cell.replace(",", ".") for cell in columns[name]]
    sheet = Sheet(str(path), str(path.parent), columns, [number for number, _ in lines], reasons, is_text=True)
    sheet.explain("read as a label track of Audacity because each line is start, end and label")
    _name_recording(sheet, "a label track names none")
    return sheet
