"""Where predictions go: CSV or JSON lines, a row at a time, in input order."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TextIO

from earmark.errors import OutputError

_ANY_NAME = "surrogateescape"  # file names need not be UTF-8; they are written as the bytes they are


class Ranked(Protocol):
    """A class and its probability, as :class:`earmark.predict.classifier.Prediction` has them."""

    def __getitem__(self, key: str) -> Any: ...


class Writer(Protocol):
    """Takes one recording after another."""

    def write(self, source: str, predictions: Sequence[Ranked]) -> None:
        """Write the classes of one recording, most likely first."""

    def write_bad(self, source: str, reason: str) -> None:
        """Write that one recording could not be read."""


class CsvWriter:
    """``path,label,score``, then ``label_2,score_2`` and so on; an unreadable recording has empty cells.

    Why a recording could not be read stands in a second table, ``path,reason``, that exists only if needed.
    """

    def __init__(self, stream: TextIO, top_k: int, bad_audio: Path | None) -> None:
        self._rows = csv.writer(stream, lineterminator="\n")
        self._stream = stream
        self._top_k = top_k
        self._bad_audio = bad_audio
        names = [name for k in range(2, top_k + 1) for name in (f"label_{k}", f"score_{k}")]
        self._row(["path", "label", "score", *names])

    def write(self, source: str, predictions: Sequence[Ranked]) -> None:
        """Write one row."""
        cells = [cell for one in predictions for cell in (one["label"], f"{one['score']:.6g}")]
        self._row([source, *cells])

    def write_bad(self, source: str, reason: str) -> None:
        """Write a row of empty cells, and the reason into the second table."""
        self._row([source, *[""] * (2 * self._top_k)])
        if self._bad_audio is not None:
            new = not self._bad_audio.exists()
            with open(self._bad_audio, "a", encoding="utf-8", errors=_ANY_NAME, newline="") as stream:
                csv.writer(stream, lineterminator="\n").writerows(
                    [*([["path", "reason"]] if new else []), [source, reason]]
                )

    def _row(self, cells: Sequence[str]) -> None:
        self._rows.writerow(cells)
        self._stream.flush()


class JsonlWriter:
    """One object a line: ``{"path", "predictions": [{"label", "score"}, ...]}`` or ``{"path", "error"}``."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, source: str, predictions: Sequence[Ranked]) -> None:
        """Write one line."""
        rows = [{"label": one["label"], "score": float(f"{one['score']:.6g}")} for one in predictions]
        self._line({"path": source, "predictions": rows})

    def write_bad(self, source: str, reason: str) -> None:
        """Write a line with the reason."""
        self._line({"path": source, "error": reason})

    def _line(self, value: dict[str, Any]) -> None:
        odd_name = any(
            "\udc80" <= char <= "\udcff" for char in value["path"]
        )  # not UTF-8: escaped, so the line stays JSON
        self._stream.write(json.dumps(value, ensure_ascii=odd_name, allow_nan=False) + "\n")
        self._stream.flush()


@contextmanager
def open_writer(output: str | None, format: str, top_k: int, *, overwrite: bool = False) -> Iterator[Writer]:
    """Open the output.

    Args:
        output: file to write, standard output when ``None``. Rows stream into ``OUTPUT.part``, which gets its name when
            everything is written, so a file of that name is always complete.
        format: ``csv`` or ``jsonl``.
        top_k: classes a row.
        overwrite: replace an existing file.

    Raises:
        OutputError: the file exists, or cannot be written.
    """
    if output is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors=_ANY_NAME)
        yield CsvWriter(sys.stdout, top_k, None) if format == "csv" else JsonlWriter(sys.stdout)
        return
    path, part, bad_audio = Path(output), Path(f"{output}.part"), Path(f"{output}.bad_audio.csv")
    if path.is_dir():
        raise OutputError(f"{output}: a folder; name a file")
    if path.exists() and not overwrite:
        raise OutputError(f"{output}: exists already; name another file or add --overwrite")
    with _translated(output, ""):
        stream = open(part, "w", encoding="utf-8", errors=_ANY_NAME, newline="")  # noqa: SIM115  (closed below)
        bad_audio.unlink(missing_ok=True)
    with stream:
        writer = CsvWriter(stream, top_k, bad_audio) if format == "csv" else JsonlWriter(stream)
        yield _Translating(writer, output, part)
    with _translated(output, ""):
        os.replace(part, path)


class _Translating:
    """A writer whose failures (a full disk) say which file, and where the rows so far are."""

    def __init__(self, writer: Writer, output: str, part: Path) -> None:
        self._writer = writer
        self._output = output
        self._hint = f"; the rows so far are in {part}"

    def write(self, source: str, predictions: Sequence[Ranked]) -> None:
        """Write the classes of one recording."""
        with _translated(self._output, self._hint):
            self._writer.write(source, predictions)

    def write_bad(self, source: str, reason: str) -> None:
        """Write that one recording could not be read."""
        with _translated(self._output, self._hint):
            self._writer.write_bad(source, reason)


@contextmanager
def _translated(output: str, hint: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise OutputError(f"{output}: cannot be written ({exc.strerror}){hint}") from exc
