"""Classes and helpers shared by the readers of public data sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from earmark.errors import DataError
from earmark.formats.delimited import read_csv
from earmark.sources.listing import list_audio

ALL = "all"  # name of the only table of a data set without splits


@dataclass
class FoundCorpus:
    """The recordings that a reader found in a folder.

    Attributes:
        root: folder with the layout.
        tables: rows by split (``train``, ``validation``, ``test``, or only ``all``). A row has ``path``, ``label`` and
            the same additional columns throughout.
        missing: files that the metadata lists but that do not exist.
        left_out: ``(file, reason)`` for each existing recording that is in no table.
        notes: one line for each fact that matters when results are compared.
    """

    root: Path
    tables: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    missing: list[Path] = field(default_factory=list)
    left_out: list[tuple[Path, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, split: str, path: Path, label: str, **columns: str) -> None:
        """Add a recording to a table, or to the missing files."""
        if path.is_file():
            self.tables.setdefault(split, []).append({"path": str(path.absolute()), "label": label, **columns})
        else:
            self.missing.append(path)

    def leave_out_others(self, folder: Path, reason: str) -> None:
        """Add all recordings below ``folder`` that are in no table to :attr:`left_out`."""
        taken = {row["path"] for rows in self.tables.values() for row in rows}
        taken |= {str(path.absolute()) for path, _ in self.left_out}
        self.left_out += [(path, reason) for path in list_audio(folder) if str(path.absolute()) not in taken]


@dataclass(frozen=True)
class Publication:
    """Facts about the publication of a data set.

    Attributes:
        title: name of the data set.
        source: its publication.
        archive: name of the published file.
        clips: number of clips in the publication; ``None`` if it could not be verified.
        classes: number of classes.
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
        published: facts about its publication.
        layout: description of its folder, for messages and help.
        is_root: returns whether a folder has this layout.
        read: reads such a folder.
        flags: protocol flags of ``earmark train`` for this data set; empty if it has splits.
        is_meant: returns whether a folder is preferred if several have this layout; ``None`` without a preference.
    """

    published: Publication
    layout: str
    is_root: Callable[[Path], bool]
    read: Callable[[Path], FoundCorpus]
    flags: str = ""
    is_meant: Callable[[Path], bool] | None = None

    def locate(self, folder: Path) -> Path:
        """Return the folder with the layout: ``folder``, or a folder at most two levels below it.

        Raises:
            DataError: no folder has the layout, or two have.
        """
        level = [folder]
        for _ in range(3):
            found = [place for place in level if self.is_root(place)]
            if len(found) > 1 and self.is_meant:
                found = list(filter(self.is_meant, found)) or found
            if len(found) > 1:
                raise DataError(
                    f"{folder}: {found[0].name} and {found[1].name} both hold {self.published.title}. Pass one of them"
                )
            if found:
                return found[0]
            level = [entry for place in level for entry in subfolders(place)]
        raise DataError(
            f"{folder}: not {self.published.title}: no {self.layout} in this folder or up to two levels below it. Fix "
            "the path"
        )


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in ``folder``, sorted, without hidden ones."""
    try:
        return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError as exc:
        raise DataError(f"{folder}: cannot be read ({exc.strerror}). Fix its permissions") from exc


def read_metadata(path: Path, needed: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """Return the rows of a metadata table, checked to have a value in every needed cell.

    Raises:
        DataError: a column is missing, a cell is empty, or the table cannot be read.
    """
    rows = read_csv(path)
    check_columns(path, list(rows[0][1]), needed)
    for where, row in rows:
        empty = [name for name in needed if not row[name].strip()]
        if empty:
            raise DataError(f"{where}: column {empty[0]!r} is empty. Extract the archive again")
    return rows


def read_listed(
    root: Path, table: Path, file: str, label: str, *columns: str, folder: Callable[[dict[str, str]], str] | None = None
) -> FoundCorpus:
    """Read a data set whose metadata table lists all recordings below ``audio``.

    Args:
        root: folder of the data set.
        table: the metadata, relative to ``root``.
        file: column with the file names.
        label: column with the classes.
        *columns: other columns to keep.
        folder: returns the folder of a row's recording, relative to ``root / "audio"``; ``None`` if all recordings are
            directly in ``audio``.

    Raises:
        DataError: see :func:`read_metadata`.
    """
    found = FoundCorpus(root)
    for _, row in read_metadata(root / table, (file, label, *columns)):
        path = Path(root, "audio", folder(row) if folder else "", row[file])
        found.add(ALL, path, row[label], **{name: row[name] for name in columns})
    found.leave_out_others(root / "audio", f"not listed in {table.as_posix()}")
    return found


def check_columns(path: Path, names: Sequence[str], needed: Sequence[str]) -> None:
    """Check that a table has the needed columns.

    Raises:
        DataError: a column is missing.
    """
    lacking = [name for name in needed if name not in names]
    if lacking:
        raise DataError(
            f"{path}: no column {lacking[0]!r} (the columns are {', '.join(names)}). Use the published file"
        )
