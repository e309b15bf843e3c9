"""Result tables of BirdNET-Analyzer: CSV, Parquet, its tables for R, and tables in Raven's or Kaleidoscope's form."""

from __future__ import annotations

from earmark.formats.column_names import LABEL_COLUMNS, PATH_COLUMNS, plain_name
from earmark.formats.format import Format
from earmark.formats.recording_name import name_recording
from earmark.formats.sheet import Sheet

_NAME, _SCORE = "common name", "confidence"
_LABELS = {"label", *map(plain_name, LABEL_COLUMNS)}
_FILES = {"begin path", *map(plain_name, PATH_COLUMNS)}


def is_birdnet(sheet: Sheet) -> bool:
    """Return whether a table has a species and BirdNET's confidence, and no other label column."""
    names = set(map(plain_name, sheet.columns))
    return {_NAME, _SCORE} <= names and not names & _LABELS


def interpret_birdnet(sheet: Sheet) -> None:
    """Use the common name as the label. A table without file names belongs to the recording with the same name."""
    column = next(name for name in sheet.columns if plain_name(name) == _NAME)
    sheet.columns["label"] = sheet.columns[column]
    sheet.explain(f"column `{column}` was read as the label because it is next to BirdNET's column {_SCORE}")
    if not any(plain_name(name) in _FILES for name in sheet.columns):
        name_recording(sheet, "no column has file names")


BIRDNET = Format(name="birdnet", recognises=is_birdnet, interpret=interpret_birdnet)
