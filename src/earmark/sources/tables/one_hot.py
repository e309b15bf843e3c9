"""Labels spread over columns (one column of 0 and 1 per class) or over rows (one row per label)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from earmark.clips.clip import Clip
from earmark.clips.columns import Columns, missing_column
from earmark.errors import DataError
from earmark.formats.column_names import name_finder
from earmark.formats.sheet import Sheet
from earmark.text import agreeing, and_more, counted

_YES = ("1", "1.0", "True", "true", "TRUE")
_NO = ("0", "0.0", "False", "false", "FALSE")
_MARKS = {*_YES, *_NO}
_CONFLICTING = 0.5  # fraction of recordings with several labels above which a table has one row per label


def columns_asked_for(sheet: Sheet, wanted: Columns) -> list[str]:
    """Return the columns named by ``--label_column_name a,b,c``; empty if it names only one."""
    find = name_finder(sheet.columns)
    parts = [part.strip() for part in wanted.label.split(",")]
    if len(parts) < 2 or find(wanted.label) is not None:
        return []
    names = [find(part) for part in parts]
    missing = [part for part, name in zip(parts, names, strict=True) if name is None]
    if missing:
        raise missing_column(sheet.origin, missing[0], sheet.columns, "label_column_name")
    return [name for name in names if name is not None]


def class_columns(sheet: Sheet, used: Sequence[str]) -> list[str]:
    """Return the columns of only 0 and 1 that are not ``used``, if there are at least two."""
    names = [
        name
        for name, cells in sheet.columns.items()
        if name not in used and all(str(cell) in _MARKS for cell in cells[:1]) and {*map(str, cells)} <= _MARKS
    ]
    return names if len(names) > 1 else []


def labels_in_columns(sheet: Sheet, names: Sequence[str], wanted: Columns, *, is_asked: bool) -> list[list[str]]:
    """Return the labels of each row: the names of the columns that contain 1.

    Raises:
        DataError: a cell is not 0 or 1, or rows have several labels although the task needs one.
    """
    for name in names:
        wrong = next((i for i, cell in enumerate(sheet.columns[name]) if str(cell) not in _MARKS), None)
        if wrong is not None:
            cell = sheet.columns[name][wrong]
            raise DataError(f"{sheet.where(wrong)}: column {name!r} has {cell!r}. Use 0 or 1 in class columns")
    marks = zip(*(sheet.columns[name] for name in names), strict=True)
    labels = [[name for name, mark in zip(names, row, strict=True) if str(mark) in _YES] for row in marks]
    if wanted.task.has_one_class and not is_asked and (index := _not_one(labels)) is not None:
        raise DataError(
            f"{sheet.origin}: no column with the labels. The columns {and_more(list(names))} hold 0 and 1, but row "
            f"{sheet.numbers[index]} has 1 in {counted(len(labels[index]), 'column')}. Name the class columns with "
            "--label_column_name a,b,c, or add --task multi_label for several labels per clip"
        )
    why = "--label_column_name names them" if is_asked else "no column is called label and they hold 0 and 1 only"
    sheet.explain(f"columns {', '.join(names)} were read as one class each because {why}", is_obvious=is_asked)
    return labels


def _not_one(labels: list[list[str]]) -> int | None:
    return next((index for index, names in enumerate(labels) if len(names) != 1), None)


def _key(clip: Clip) -> tuple[object, ...]:
    return clip.path or clip.source, clip.offset_s, clip.duration_s


def check_one_label_each(clips: Sequence[Clip], sheet: Sheet) -> None:
    """Check that a single-label table does not have one row for each of several labels of a clip.

    Raises:
        DataError: more than half of the recordings have several labels.
    """
    if len({clip.path for clip in clips}) == len(clips):
        return
    labels: dict[tuple[Any, ...], set[Any]] = {}
    for clip in clips:
        if clip.label is not None:
            labels.setdefault(_key(clip), set()).add(clip.label)
    several = [key for key, of_clip in labels.items() if len(of_clip) > 1]
    if several and len(several) > _CONFLICTING * len(labels):
        shown = ", ".join(sorted(map(str, labels[several[0]])))
        raise DataError(
            f"{sheet.origin}: {len(several):,} of {counted(len(labels), 'clip')} {agreeing(len(several), 'have')} "
            f"several rows with different labels ({several[0][0]}: {shown}). Add --task multi_label to predict several "
            "labels per clip, or keep one row per clip"
        )


def merge_rows(clips: list[Clip], sheet: Sheet) -> list[Clip]:
    """Merge rows of one clip with different labels into one clip with all these labels."""
    rows: dict[tuple[Any, ...], list[int]] = {}
    for index, clip in enumerate(clips):
        rows.setdefault(_key(clip), []).append(index)
    if len(rows) == len(clips):
        return clips
    kept: dict[int, Clip] = {}
    merged = 0
    for indices in rows.values():
        labels = [clips[i].label for i in indices]
        if len({clips[i].label_key for i in indices}) == 1 or not all(isinstance(label, tuple) for label in labels):
            kept.update((i, clips[i]) for i in indices)
            continue
        together = tuple(dict.fromkeys(name for i in indices for name in clips[i].classes))
        kept[indices[0]] = replace(clips[indices[0]], label=together)
        merged += 1
    if merged:
        sheet.explain(
            f"{counted(merged, 'clip')} with several rows: the labels of all rows of a clip were merged",
            is_obvious=False,
        )
    return [kept[i] for i in sorted(kept)]
