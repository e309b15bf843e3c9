"""CommonLanguage: an hour of each of 45 languages of Common Voice. Sinisetty et al. 2021, doi:10.5281/zenodo.5036977.

The layout is the one that its loading script on the hub reads: ``LANGUAGE/train.csv``, in UTF-16 with tabs, has a
speaker and a file per row. The file is in ``LANGUAGE/train/SPEAKER/``. ``dev`` and ``test`` have the same layout.
"""

from __future__ import annotations

import codecs
from pathlib import Path

from earmark.errors import DataError
from earmark.sources.corpora.corpus import Corpus, FoundCorpus, Publication, check_columns, subfolders
from earmark.text import counted

_SPLITS = {"train": "train", "dev": "validation", "test": "test"}
_NEEDED = ("client_id", "path")
_HEAD = 100  # bytes to detect UTF-16 without a byte order mark: half of a header's bytes are zero


def _is_root(folder: Path) -> bool:
    return any((place / "train.csv").is_file() for place in subfolders(folder))


def _read(root: Path) -> FoundCorpus:
    found = FoundCorpus(root)
    for place in subfolders(root):
        if not any((place / f"{split}.csv").is_file() for split in _SPLITS):
            found.leave_out_others(place, f"{place.name} has no train.csv")
            continue
        for split, name in _SPLITS.items():
            _read_split(found, place, split, name)
        found.leave_out_others(place, "not listed in the tables of its language")
    return found


def _read_split(found: FoundCorpus, place: Path, split: str, name: str) -> None:
    table = place / f"{split}.csv"
    header, *lines = _lines(table)
    columns = [cell.strip() for cell in header.split("\t")]
    check_columns(table, columns, _NEEDED)
    for number, line in enumerate(lines, 2):
        row = [cell.strip() for cell in line.split("\t")]  # quotes and commas are part of the sentences
        if len(row) == len(columns) + 1:  # an index column that the header does not name
            row = row[1:]
        if len(row) != len(columns):
            raise DataError(
                f"{table} row {number}: {counted(len(row), 'cell')}, but the header has {len(columns)}. Extract the "
                "archive again"
            )
        cells = dict(zip(columns, row, strict=True))
        speaker, file = (cells.get(column, "") for column in _NEEDED)
        if not speaker or not file:
            raise DataError(f"{table} row {number}: has no speaker or no file. Extract the archive again")
        found.add(
            name,
            place / split / speaker / file,
            place.name,
            speaker=f"{place.name}/{speaker}",
            gender=cells.get("gender", ""),
            age=cells.get("age", ""),
        )


def _lines(table: Path) -> list[str]:
    """Return the lines that are not blank, from UTF-16 as published, or from UTF-8."""
    try:
        content = table.read_bytes()
        marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        unmarked = "utf-16-le" if b"\0" in content[:_HEAD] else "utf-8-sig"
        text = content.decode("utf-16" if marked else unmarked)
    except OSError as exc:
        raise DataError(f"{table}: cannot be read ({exc.strerror}). Extract the archive again") from exc
    except UnicodeDecodeError as exc:
        raise DataError(f"{table}: neither UTF-16 nor UTF-8 (byte {exc.start}). Extract the archive again") from exc
    lines = [line for line in text.replace("\r\n", "\n").split("\n") if line.strip()]
    if len(lines) < 2:
        raise DataError(f"{table}: has no rows. Extract the archive again")
    return lines


COMMON_LANGUAGE = Corpus(
    Publication(
        "CommonLanguage",
        "Sinisetty et al. 2021, doi:10.5281/zenodo.5036977",
        "CommonLanguage.zip",
        clips=None,
        classes=45,
    ),
    layout="folders of languages with train.csv",
    is_root=_is_root,
    read=_read,
)
