"""A table as it was read, before anything is known about its columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from earmark.errors import DataError
from earmark.formats.cell_text import is_missing
from earmark.text import and_more, counted

_NAMED = 3  # rows named in a message
_DECIMAL_COMMA = re.compile(r"[+-]?\d+(?:,\d+)?")
_THOUSANDS = 3  # digits that a comma between thousands has behind it


@dataclass(frozen=True)
class Reason:
    """One rule by which a table was read, for ``earmark inspect --explain``.

    Attributes:
        text: what was read as what, and why.
        is_obvious: whether the rule needs no line in the log of other commands.
    """

    text: str
    is_obvious: bool = True


@dataclass
class Sheet:
    """The cells of a table of N rows, column by column.

    Attributes:
        origin: the file or data set, for messages.
        folder: where relative paths start.
        columns: N cells for each column name. Cells of CSV are stripped text. A cell of a column of recordings may be
            a function that returns the encoded recording.
        numbers: the number of each row, for messages, N.
        reasons: the rules by which it was read.
        is_text: whether all cells are text, so that a number is not known to be one.
        class_names: class names by number, for columns that have them.
    """

    origin: str
    folder: str
    columns: dict[str, list[Any]]
    numbers: Sequence[int]
    reasons: list[Reason] = field(default_factory=list)
    is_text: bool = False
    class_names: dict[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.numbers)

    def where(self, index: int) -> str:
        """Return what messages call a row."""
        return f"{self.origin} row {self.numbers[index]}"

    def explain(self, text: str, *, is_obvious: bool = True) -> None:
        """Add a rule by which the table was read."""
        self.reasons.append(Reason(f"{self.origin}: {text}", is_obvious))

    def read_decimal_commas(self, column: str, *, even_thousands: bool = False) -> None:
        """Turn the commas of a column of numbers in a table of text into points, and explain it.

        A column has decimal commas if all its cells are whole numbers or have one comma, and none has a point. Three
        digits after every comma might be thousands, so the column is left as it is then.

        Args:
            column: its name.
            even_thousands: read it all the same, as times in seconds are; the explanation is not obvious then.
        """
        cells = self.columns[column]
        if not self.is_text or not any("," in cell for cell in cells):  # nearly always
            return
        given = [cell for cell in cells if not is_missing(cell)]
        if not all(map(_DECIMAL_COMMA.fullmatch, given)):
            return
        fractions = [cell.partition(",")[2] for cell in given if "," in cell]
        is_obvious = any(len(fraction) != _THOUSANDS for fraction in fractions)
        if not is_obvious and not even_thousands:
            return
        example = next(cell for cell in given if "," in cell)
        self.columns[column] = [cell.replace(",", ".") for cell in cells]
        self.explain(
            f"the commas in column `{column}` were read as decimal points: {example} is {example.replace(',', '.')}",
            is_obvious=is_obvious,
        )

    def keep(self, indices: Sequence[int]) -> None:
        """Keep only the rows at ``indices``, in that order."""
        self.columns = {name: [cells[i] for i in indices] for name, cells in self.columns.items()}
        self.numbers = [self.numbers[i] for i in indices]


class CellError(Exception):
    """A cell that cannot be used.

    Args:
        fault: what is wrong with it, with the row as the subject: "has no label".
        fix: what to do, as an imperative sentence without a full stop.
        kind: equal for faults that one message covers.
    """

    def __init__(self, fault: str, fix: str = "", kind: str = "") -> None:
        super().__init__(f"{fault}. {fix}" if fix else fault)
        self.fault, self.fix, self.kind = fault, fix, kind or fix or fault


class Faults:
    """Collects the faults of one column and raises the first, with the number of rows that have the same.

    Args:
        where: from the index of a row to what messages call it.
    """

    def __init__(self, where: Callable[[int], str]) -> None:
        self._where = where
        self._found: list[tuple[int, CellError]] = []

    def add(self, index: int, error: CellError) -> None:
        """Note the fault of a row."""
        self._found.append((index, error))

    def raise_first(self) -> None:
        """Raise the first fault, if there is any.

        Raises:
            DataError: a row has a fault.
        """
        if not self._found:
            return
        index, first = self._found[0]
        others = [i for i, error in self._found[1:] if error.kind == first.kind]
        like = ""
        if others:
            rows = [self._where(i).rpartition(" row ")[2] for i in others]
            like = f" ({counted(len(others), 'other row')} with the same fault: {and_more(rows, _NAMED)})"
        fix = f". {first.fix}" if first.fix else ""
        raise DataError(f"{self._where(index)}: {first.fault}{like}{fix}")


def convert(cells: Iterable[Any], parse: Callable[[Any], Any], faults: Faults) -> list[Any]:
    """Return the values of cells, ``None`` for those with a fault; equal texts are parsed once."""
    known: dict[str, Any] = {}
    values: list[Any] = []
    for index, cell in enumerate(cells):
        is_text = type(cell) is str
        found = known.get(cell) if is_text else None
        if found is None:
            try:
                found = parse(cell)
            except CellError as exc:
                found = exc
            if is_text and found is not None:
                known[cell] = found
        if isinstance(found, CellError):
            faults.add(index, found)
            found = None
        values.append(found)
    return values
