"""What every reader of a public data set gives, and what several of them need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from earmark.errors import DataError
from earmark.formats.delimited import read_csv
from earmark.sources.listing import list_audio

ALL = "all"  # name of the one table of a data set that has no splits


@dataclass
class FoundCorpus:
    """What a reader found in a folder.

    Attributes:
        root: the folder that has the layout.
        tables: rows by split (``train``, ``validation``, ``test``, or ``all`` alone). A row has ``path``, ``label`` and
            the same further columns throughout.
        missing: files that the metadata names and that are not there.
        left_out: ``(file, reason)`` for each recording that is there and in no table.
        notes: one line for each thing worth knowing before figures are compared.
    """

    root: Path
    tables: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    missing: list[Path] = field(default_factory=list)
    left_out: list[tuple[Path, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, split: str, path: Path, label: str, **columns: str) -> None:
        """Put a recording into a table, or among the missing ones."""
        if path.is_file():
            self.tables.setdefault(split, []).append({"path": str(path.absolute()), "label": label, **columns})
        else:
            self.missing.append(path)

    def leave_out_others(self, folder: Path, reason: str) -> None:
        """List the recordings below ``folder`` that are in no table as left out."""
        taken = {row["path"] for rows in self.tables.values() for row in rows}
        taken |= {str(path.absolute()) for path, _ in self.left_out}
        self.left_out += [(path, reason) for path in list_audio(folder) if str(path.absolute()) not in taken]


@dataclass(frozen=True)
class Publication:
    """How a data set was published.

    Attributes:
        title: its name.
        source: its publication.
        archive: name of the file it is published as.
        clips: how many its publication counts; ``None`` where no count could be verified.
        classes: how many classes it has.
    """

    title: str
    source: str
    archive: str
    clips: int | None
    classes: int


@dataclass(frozen=True)
class Corpus:
    """A public data set.

    Attributes:
        published: how it was published.
        layout: what its folder looks like, in words, for messages and help.
        is_root: whether a folder has that layout.
        read: from such a folder to rows.
        flags: protocol flags of ``earmark train`` that fit it; empty if it has splits.
        is_meant: which of several folders with that layout is read, where not every one is.
    """

    published: Publication
    layout: str
    is_root: Callable[[Path], bool]
    read: Callable[[Path], FoundCorpus]
    flags: str = ""
    is_meant: Callable[[Path], bool] | None = None

    def locate(self, folder: Path) -> Path:
        """Return the folder with the layout: ``folder``, or one at most two below it.

        Raises:
            DataError: there is none, or there are two.
        """
        level = [folder]
        for _ in range(3):
            found = [place for place in level if self.is_root(place)]
            if len(found) > 1 and self.is_meant:
                found = list(filter(self.is_meant, found)) or found
            if len(found) > 1:
                raise DataError(
                    f"{folder}: {found[0].name} and {found[1].name} both hold {self.published.title}; give one of them"
                )
            if found:
                return found[0]
            level = [entry for place in level for entry in subfolders(place)]
        raise DataError(f"{folder}: is not {self.published.title}: no {self.layout} in it, nor in a folder of it")


def subfolders(folder: Path) -> list[Path]:
    """Folders in ``folder``, sorted, without hidden ones."""
    try:
        return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError as exc:
        raise DataError(f"{folder}: cannot be looked into ({exc.strerror})") from exc


def read_metadata(path: Path, needed: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """Rows of a metadata table, with a value in every cell that is needed.

    Raises:
        DataError: a column is missing, a cell is empty, or the table cannot be read.
    """
    rows = read_csv(path)
    check_columns(path, list(rows[0][1]), needed)
    for where, row in rows:
        empty = [name for name in needed if not row[name].strip()]
        if empty:
            raise DataError(f"{where}: column {empty[0]!r} is empty; extract the archive again")
    return rows


def read_listed(
    root: Path, table: Path, file: str, label: str, *columns: str, folder: Callable[[dict[str, str]], str] | None = None
) -> FoundCorpus:
    """Read a data set whose metadata table lists all recordings below ``audio``.

    Args:
        root: its folder.
        table: the metadata, from ``root``.
        file: the column with the name of the recording.
        label: the column with the class.
        *columns: columns to keep.
        folder: from a row to the folder of its recording, from ``root / "audio"``; ``None`` for that folder itself.

    Raises:
        DataError: as :func:`read_metadata`.
    """
    found = FoundCorpus(root)
    for _, row in read_metadata(root / table, (file, label, *columns)):
        path = Path(root, "audio", folder(row) if folder else "", row[file])
        found.add(ALL, path, row[label], **{name: row[name] for name in columns})
    found.leave_out_others(root / "audio", f"not named in {table.as_posix()}")
    return found


def check_columns(path: Path, names: Sequence[str], needed: Sequence[str]) -> None:
    """See that a table has the columns that are needed.

    Raises:
        DataError: it lacks one.
    """
    lacking = [name for name in needed if name not in names]
    if lacking:
        raise DataError(
            f"{path}: no column {lacking[0]!r} (the columns are {', '.join(names)}); is it the published file?"
        )
