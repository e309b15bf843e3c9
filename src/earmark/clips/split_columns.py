"""Splits given by a column of a table: ``split``, ``subset``, ``set`` or ``partition``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from earmark.clips.clip import ClipTable, Splits
from earmark.clips.split_names import SHOWN_NAMES, SPLIT_NAMES, SplitNames
from earmark.errors import DataError
from earmark.formats.column_names import name_finder
from earmark.text import agreeing, and_more, counted

_COLUMNS = ("split", "subset", "partition", "set", "data split", "dataset split", "split name")


@dataclass(frozen=True)
class SplitColumn:
    """A column of a table of N clips in which at least one cell names or mentions a split.

    Attributes:
        name: name of the column.
        splits: split of each clip, N of them; ``None`` for a cell that names no split.
        others: number of rows for each value that names no split.
        origin: name of the table, for messages.
    """

    name: str
    splits: list[str | None]
    others: Counter[str]
    origin: str

    def counts(self) -> str:
        """Return the number of rows in each split, as text."""
        found = Counter(self.splits)
        return ", ".join(f"{split} {found[split]:,}" for split in SPLIT_NAMES if found[split])

    def check_every_row(self) -> None:
        """Check that every cell names a split.

        Raises:
            DataError: a cell names no split, so it is unclear which clips are for training.
        """
        if not self.others:
            return
        values = and_more([f"{value} ({counted(count, 'row')})" for value, count in self.others.most_common()], 6)
        there = f"splits in some rows ({self.counts()})" if any(self.splits) else "a part of the data in each row"
        raise DataError(
            f"{self.origin}: column {self.name!r} names {there}, but these cells are not train, validation or "
            f"test: {values}. Write train, validation or test into them, remove the rows, name the splits with "
            "--train_split_name, --eval_split_name and --test_split_name, or rename the column to train on all rows"
        )


def find_split_column(table: ClipTable, names: SplitNames) -> SplitColumn | None:
    """Return the column with the split of each clip; ``None`` without one.

    With several such columns, return the one with the fewest cells that name no split.
    """
    if not len(table):
        return None
    find = name_finder(table[0].metadata)
    there = dict.fromkeys(name for name in map(find, _COLUMNS) if name is not None)
    found = [column for name in there if (column := _read(table, name, names)) is not None]
    return min(found, key=lambda column: column.others.total(), default=None)


def _read(table: ClipTable, name: str, names: SplitNames) -> SplitColumn | None:
    cells = [clip.metadata.get(name) for clip in table]
    known: dict[Any, str | None] = {cell: names.like(str(cell)) if cell else None for cell in dict.fromkeys(cells)}
    if not any(known.values()) and not any(names.mentions_split(str(cell)) for cell in known):
        return None
    others = Counter("empty" if cell in (None, "") else repr(cell) for cell in cells if known[cell] is None)
    return SplitColumn(name, [known[cell] for cell in cells], others, table.origin)


def splits_of_manifest(table: ClipTable, split: str, names: SplitNames, given: Collection[str] = ()) -> Splits:
    """Return the splits of a table that was given for one split.

    A training table is divided by its split column, so that held-out clips are not trained on. A validation or test
    table is used whole.

    Args:
        table: all clips.
        split: split that the table was given for.
        names: names of the splits in the data.
        given: splits with tables of their own; rows of these splits are ignored.

    Raises:
        DataError: only some rows of a training table are in a split, or none is for training.
    """
    column = find_split_column(table, names)
    if split != "train" or column is None or (not column.others and {*column.splits} == {"train"}):
        return use_whole_table(table, split, names)
    column.check_every_row()
    if "train" not in column.splits:
        raise DataError(
            f"{table.origin}: no row is for training, because column {column.name!r} has {column.counts()}. Give the "
            "file with --eval_file or --test_file, or rename the column to train on all rows"
        )
    left_out = [name for name in SPLIT_NAMES[1:] if name in given and name in column.splits]
    splits = split_by_column(column, table, left_out)
    if left_out:
        count = sum(name in left_out for name in column.splits)
        splits.notes.append(
            f"{table.origin}: {counted(count, 'row')} {agreeing(count, 'are')} ignored because column {column.name!r} "
            f"puts {agreeing(count, 'them')} into {' and '.join(SHOWN_NAMES[name] for name in left_out)}, for which a "
            "separate file is given"
        )
    return splits


def use_whole_table(table: ClipTable, split: str, names: SplitNames) -> Splits:
    """Return all clips of a table as one split, with a note if a column says otherwise."""
    splits = Splits()
    setattr(splits, split, table)
    column = find_split_column(table, names)
    if column is not None and len({*column.splits}) > 1:
        splits.notes.append(_not_used(column, split))
    return splits


def split_by_column(column: SplitColumn, table: ClipTable, left_out: Collection[str] = ()) -> Splits:
    """Return the clips of a table by split, with a note about the column."""
    splits = Splits(notes=[f"{table.origin}: the column {column.name!r} decides the split of each clip"])
    for split in SPLIT_NAMES:
        rows = [i for i, name in enumerate(column.splits) if name == split]
        if rows and split not in left_out:
            setattr(splits, split, table.keep(rows))
    return splits


def _not_used(column: SplitColumn, split: str) -> str:
    others = f", {and_more([f'{value} {count:,}' for value, count in column.others.items()])}" if column.others else ""
    return (
        f"{column.origin}: column `{column.name}` ({column.counts()}{others}) is not used, because the file was given "
        f"as the {split} split: all its rows are {split} clips. To use the column, give each split its own file"
    )
