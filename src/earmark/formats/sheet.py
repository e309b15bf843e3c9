"""A table as it was read, before its columns are interpreted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from earmark.errors import DataError
from earmark.formats.cell_text import is_missing
from earmark.text import and_more, counted

_NAMED = 3  # rows listed in a message
_DECIMAL_COMMA = re.compile(r"[+-]?\d+(?:,\d+)?")
_THOUSANDS = 3  # digits after a thousands separator


@dataclass(frozen=True)
class Reason:
    """One rule by which a table was read, for ``earmark inspect --explain``.

    Attributes:
        text: what was read, how, and why.
        is_obvious: whether other commands need not log the rule.
    """

    text: str
    is_obvious: bool = True


@dataclass
class Sheet:
    """The cells of a table of N rows, column by column.

    Attributes:
        origin: file or data set, for messages.
        folder: folder that relative paths start from.
        columns: N cells for each column name. Cells of CSV are stripped text. A cell of a recording column may be a
            function that returns the encoded recording.
        numbers: number of each row, for messages, N.
        reasons: rules by which the table was read.
        is_text: whether all cells are text, even numbers.
        class_names: class names by number, for each column that holds numbers in place of class names.
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
        """Return the name of a row in messages."""
        return f"{self.origin} row {self.numbers[index]}"

    def explain(self, text: str, *, is_obvious: bool = True) -> None:
        """Add a rule by which the table was read."""
        self.reasons.append(Reason(f"{self.origin}: {text}", is_obvious))

    def read_decimal_commas(self, column: str, *, even_thousands: bool = False) -> None:
        """Replace decimal commas by points in a column of numbers of a text table, and explain it.

        A column has decimal commas if all its cells are whole numbers or have one comma, and none has a point. If three
        digits follow every comma, they may be thousands separators, so the column is not changed.

        Args:
            column: name of the column.
            even_thousands: replace commas even if they may be thousands separators, as for times in seconds. Then the
                explanation is marked as not obvious.
        """
        cells = self.columns[column]
        if not self.is_text or not any("," in cell for cell in cells):  # the usual case
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
        fault: the problem, with the row as its subject: "has no label".
        fix: what to do, as an imperative sentence without a full stop.
        kind: faults of equal kind are reported in one message.
    """

    def __init__(self, fault: str, fix: str = "", kind: str = "") -> None:
        super().__init__(f"{fault}. {fix}" if fix else fault)
        self.fault, self.fix, self.kind = fault, fix, kind or fix or fault


class Faults:
    """Collector of the faults in one column. Raises the first, with the number of rows with similar faults.

    Args:
        where: returns the name of a row in messages.
    """

    def __init__(self, where: Callable[[int], str]) -> None:
        self._where = where
        self._found: list[tuple[int, CellError]] = []

    def add(self, index: int, error: CellError) -> None:
        """Record the fault of a row."""
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
    """Return the parsed values of cells; ``None`` for faults. Equal texts are parsed once."""
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
