"""Show the predictions of a split as a table with one row per clip."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earmark.errors import DataError, MissingExtraError
from earmark.pages.tables import html_table

if TYPE_CHECKING:
    import pandas

_SHOWN = 10
_TEXT = ("path", "label", "predicted", "answer", "group", "file")


def import_pandas() -> Any:
    """Import pandas.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as exc:
        raise MissingExtraError("to_pandas needs the package pandas. Install it: pip install pandas") from exc
    return pandas


@dataclass(frozen=True)
class PredictionsTable(Sequence[dict[str, Any]]):
    """One row for each clip: ``path``, ``label``, ``predicted``, ``score``, ``correct``, and ``p(LABEL)`` by class.

    Attributes:
        path: the file ``predictions_SPLIT.csv``.
    """

    path: Path

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The rows, with numbers as numbers.

        Raises:
            DataError: there is no such file.
        """
        try:
            with open(self.path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
                return [{name: _value(name, cell) for name, cell in row.items()} for row in csv.DictReader(stream)]
        except FileNotFoundError as exc:
            there = sorted(path.name[12:-4] for path in self.path.parent.glob("predictions_*.csv"))
            raise DataError(
                f"{self.path}: no such file. Evaluate this split, or use one with predictions: "
                f"{', '.join(there) or 'there is none'}."
            ) from exc

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def to_pandas(self) -> pandas.DataFrame:
        """Return the table as a data frame.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return import_pandas().DataFrame(self.rows)

    def _repr_html_(self) -> str:
        heads = list(self.rows[0]) if self.rows else []
        return html_table(heads, ([*row.values()] for row in self.rows[:_SHOWN]), f"{self.path}: {len(self):,} clips")


def _value(name: str, cell: str | None) -> object:
    if name in _TEXT or cell is None:
        return cell
    if name == "correct":
        return cell == "1"
    try:
        return float(cell)
    except ValueError:
        return cell
