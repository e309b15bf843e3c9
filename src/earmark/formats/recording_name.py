"""Find the recording of a table that does not name one."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path

from earmark.formats.sheet import Sheet

JOURNAL = "earmark.jsonl"  # in a folder of tables: the recording of each table
_FOLDERS_ABOVE = 8  # folders above a table that are searched for the journal
# added by Raven, BirdNET and earmark between a recording's name and the suffix of its table
_ADDED = re.compile(r"\.(Table\.\d+|selections?|BirdNET|raven|labels?)\b.*$", re.IGNORECASE)


def name_recording(sheet: Sheet, why: str) -> None:
    """Fill a column ``path`` with the recording of the table.

    Args:
        sheet: the table.
        why: why the rows do not name the recording.
    """
    table = Path(sheet.origin)
    recording = _journalled(table)
    if recording is not None:
        sheet.explain(f"all rows are about {recording} because {JOURNAL} names it")
    else:
        recording = _ADDED.sub("", table.stem)
        sheet.explain(f"all rows are about {recording}, which has the table's name, because {why}", is_obvious=False)
    sheet.columns["path"] = [recording] * len(sheet)


def _journalled(table: Path) -> str | None:
    """Return the recording for which ``earmark predict`` wrote a table, if the recording still exists."""
    table = table.absolute()
    for folder in table.parents[:_FOLDERS_ABOVE]:
        journal = folder / JOURNAL
        if journal.is_file():
            name = table.relative_to(folder).as_posix()
            recording = _recordings(journal, journal.stat().st_mtime_ns).get(name)
            return recording if recording is not None and Path(recording).is_file() else None
    return None


@lru_cache(maxsize=4)
def _recordings(journal: Path, mtime_ns: int) -> dict[str, str]:
    """Return the recording of each table in a journal, by the table's name."""
    found: dict[str, str] = {}
    for line in journal.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # truncated by a kill
            continue
        if isinstance(entry, dict) and isinstance(entry.get("file"), str) and isinstance(entry.get("recording"), str):
            found[entry["file"]] = entry["recording"]
    return found
