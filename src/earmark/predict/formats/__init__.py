"""Output formats of ``earmark predict``: one file for each, all with the methods of :class:`Rows`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from earmark.extras import require
from earmark.predict.formats.audacity import AudacityRows
from earmark.predict.formats.csv_table import csv_rows
from earmark.predict.formats.format import Rows, RowSettings
from earmark.predict.formats.json_lines import JsonRows
from earmark.predict.formats.kaleidoscope import KaleidoscopeRows
from earmark.predict.formats.parquet import csv_to_parquet
from earmark.predict.formats.raven import RavenRows, loses_path
from earmark.predict.formats.rttm import RttmRows, file_ids


@dataclass(frozen=True)
class Format:
    """How a format is written; :data:`earmark.settings.prediction_flags.OUTPUT_FORMATS` says which flags fit it.

    Attributes:
        rows: makes the text of the rows.
        ids: names by which the format identifies recordings, all different; ``None`` if rows have the paths.
        loses_path: whether a path cannot be written as it is; ``None`` if every path can.
        convert: makes the output file from the finished text, given both paths; ``None`` if the text is the output.
        package: optional package that ``convert`` needs.
    """

    rows: Callable[[RowSettings], Rows]
    ids: Callable[[Sequence[str]], dict[str, str]] | None = None
    loses_path: Callable[[str], bool] | None = None
    convert: Callable[[Path, Path], None] | None = None
    package: str | None = None

    def ids_for(self, sources: Sequence[str]) -> dict[str, str]:
        """Return the name of each recording; empty if rows have the paths."""
        return self.ids(sources) if self.ids is not None else {}


FORMATS: dict[str, Format] = {
    "csv": Format(csv_rows),
    "jsonl": Format(JsonRows),
    "parquet": Format(csv_rows, convert=csv_to_parquet, package="pyarrow"),
    "audacity": Format(AudacityRows),
    "raven": Format(RavenRows, loses_path=loses_path),
    "rttm": Format(RttmRows, ids=file_ids),
    "kaleidoscope": Format(KaleidoscopeRows),
}


def format_named(name: str) -> Format:
    """Return a format.

    Raises:
        MissingExtraError: it needs a package that is not installed.
    """
    chosen = FORMATS[name]
    if chosen.package is not None:
        require(chosen.package)
    return chosen
