"""Notes about tables, lists and archives that are in a folder of recordings but not used."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from earmark.clips.clip import Splits
from earmark.clips.split_names import is_table_name
from earmark.formats.format_registry import table_suffixes
from earmark.sources.archives import is_archive
from earmark.sources.listing import files_in
from earmark.text import and_more

_LISTS = (".txt", ".lst", ".list", ".scp", ".xlsx", ".xls")  # suffixes of lists that are not read


def tables_in(root: Path) -> list[Path]:
    """Return the files directly in a folder that may be tables, by their suffix."""
    return [root / name for name in files_in(root) if Path(name).suffix.casefold() in table_suffixes()]


def label_tables(root: Path, used: Collection[Path] = ()) -> list[Path]:
    """Return the tables that may contain labels. JSON files with other names are skipped, because most are settings."""
    tables = [path for path in tables_in(root) if path not in used]
    return [path for path in tables if path.suffix.casefold() != ".json" or is_table_name(path)]


def archives_note(root: Path) -> str:
    """Return a sentence about archives directly in a folder; empty if there are none."""
    archives = [name for name in files_in(root) if is_archive(Path(name))]
    return f"archives are not read: {and_more(archives)}. Extract them to use their recordings" if archives else ""


def note_unused(splits: Splits, root: Path, used: Collection[Path] = ()) -> Splits:
    """Add notes about tables, lists and archives in a folder that were not used. Return the splits."""
    tables = [path.name for path in label_tables(root, used)]
    lists = [name for name in files_in(root) if Path(name).suffix.casefold() in _LISTS and is_table_name(Path(name))]
    if tables:
        splits.notes.append(
            f"{root}: did not use {and_more(tables, 6)}. Add --train_file, --eval_file or --test_file FILE to use one"
        )
    if lists:
        splits.notes.append(
            f"{root}: did not use {and_more(lists, 6)}: lists and spreadsheets next to recordings are not read. Pass a "
            "table with --train_file, or save a spreadsheet as CSV"
        )
    if archives := archives_note(root):
        splits.notes.append(f"{root}: {archives}")
    return splits
