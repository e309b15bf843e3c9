"""Scan folders for recordings: which files count, which are skipped, which folders are searched.

Every command finds the recordings of a folder here, so all commands agree:

* A recording is a file with a suffix of :data:`~earmark.audio.decode.AUDIO_SUFFIXES`, in any letter case.
* Names that start with a dot (``._1.wav``, ``.ipynb_checkpoints``), and files and folders made by systems and programs
  (``__MACOSX``, ``@eaDir``, ``Thumbs.db``), are ignored.
* Links to folders are followed after all real folders. Each real folder is searched once, and a link to a parent folder
  is not followed.
"""

from __future__ import annotations

import heapq
import logging
import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from earmark.audio.decode import AUDIO_SUFFIXES
from earmark.errors import DataError
from earmark.text import and_more, counted

logger = logging.getLogger(__name__)

_SYSTEM_FOLDERS = frozenset(
    {
        *("__macosx", "network trash folder", "temporary items"),  # macOS
        *("$recycle.bin", "recycler", "recycled", "system volume information"),  # Windows
        *("@eadir", "@tmp", "#recycle", "#snapshot", "@recycle", "@recently-snapshot"),  # Synology and QNAP
        *("lost+found", "__pycache__"),
    }
)
_SYSTEM_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})
_SUFFIXES_NAMED = 6
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")  # names in an "audiofolder" of the package datasets


@dataclass
class Skipped:
    """Files and folders that a scan skipped.

    Attributes:
        files: number of files of each suffix, and the first of them.
        folders: names of system folders and hidden folders.
        links: links to folders that were searched under another name.
    """

    files: dict[str, tuple[int, str]] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)

    def add_file(self, path: str) -> None:
        """Count a file."""
        suffix = os.path.splitext(path)[1].casefold()
        count, first = self.files.get(suffix, (0, path))
        self.files[suffix] = (count + 1, first)

    def add(self, other: Skipped) -> None:
        """Add the counts of another scan."""
        for suffix, (count, first) in other.files.items():
            before, example = self.files.get(suffix, (0, first))
            self.files[suffix] = (before + count, example)
        self.folders |= other.folders
        self.links += other.links

    def files_note(self, root: str | os.PathLike[str] | None = None) -> str:
        """Return the number of skipped files by suffix, with the first of each relative to ``root``."""
        most = sorted(self.files.items(), key=lambda item: (-item[1][0], item[0]))
        kinds = [
            f"{count:,} {suffix or 'without suffix'} ({os.path.relpath(first, root) if root else first})"
            for suffix, (count, first) in most
        ]
        total = counted(sum(count for count, _ in self.files.values()), "file")
        return f"Skipped {total} without an audio suffix: {and_more(kinds, _SUFFIXES_NAMED)}" if kinds else ""

    def notes(self, root: str | os.PathLike[str]) -> list[str]:
        """Return one line each for files, folders and links, if there are any."""
        files = self.files_note(root)
        lines = [f"{root}: {files[0].lower()}{files[1:]}"] if files else []
        if self.folders:
            names = sorted(self.folders)
            lines.append(f"{root}: did not search system and hidden folders: {and_more(names, _SUFFIXES_NAMED)}")
        if self.links:
            shown = and_more([os.path.relpath(link, root) for link in self.links])
            which = "a link to a folder that is" if len(self.links) == 1 else "links to folders that are"
            lines.append(f"{root}: did not follow {which} already searched: {shown}")
        return lines


@dataclass
class Listing:
    """The recordings in a folder and its subfolders.

    Attributes:
        root: the folder.
        paths: paths of the recordings, sorted.
        skipped: all other files and folders.
    """

    root: str
    paths: list[str]
    skipped: Skipped

    @property
    def prefix(self) -> str:
        """Start of all paths, before the names of folders below ``root``."""
        return "" if self.root == os.curdir else os.path.join(self.root, "")

    def log_skipped(self) -> None:
        """Log what was skipped, for commands that do not collect notes."""
        for note in self.skipped.notes(self.root):
            logger.info("%s", note)


def list_recordings(
    folder: str | os.PathLike[str], only: Collection[str] | None = None, used: Collection[str] = ()
) -> Listing:
    """Find the recordings in a folder and its subfolders, by the rules of this module.

    Args:
        folder: folder to search.
        only: names of the subfolders to search; ``None`` for all. Files directly in ``folder`` always count.
        used: paths of files in use, such as tables, that do not count as skipped.

    Raises:
        DataError: a folder cannot be listed.
    """
    root = str(Path(folder))
    paths: list[str] = []
    skipped = Skipped()
    searched: set[str] = set()
    waiting = [(root, os.path.realpath(root))]
    links: list[tuple[str, str]] = []  # a heap: if several links lead to a folder, every machine follows the same link
    while waiting or links:
        if not waiting:
            path, above = heapq.heappop(links)
            real = os.path.realpath(path)
            if real in searched or above == real or above.startswith(os.path.join(real, "")):
                skipped.links.append(path)
                continue
            waiting.append((path, real))
        place, real = waiting.pop()
        if real in searched:  # already searched through a link
            continue
        searched.add(real)
        for entry in _entries(place):
            if is_folder(entry):
                if is_system_folder(entry.name):
                    skipped.folders.add(entry.name)
                elif place == root and only is not None and entry.name not in only:
                    continue
                elif _is_link(entry):
                    heapq.heappush(links, (entry.path, real))
                else:
                    waiting.append((entry.path, os.path.join(real, entry.name)))
            elif is_recording(entry.name):
                paths.append(entry.path if root != os.curdir else os.path.normpath(entry.path))
            elif not _is_system_file(entry.name) and entry.path not in used:
                skipped.add_file(entry.path)
    return Listing(root, sorted(paths, key=lambda path: path.split(os.sep)), skipped)


def list_audio(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the recordings in a folder and its subfolders, sorted; none if it does not exist. Logs nothing.

    Raises:
        DataError: a folder cannot be listed.
    """
    return [Path(path) for path in list_recordings(folder).paths] if os.path.isdir(folder) else []


def is_recording(name: str) -> bool:
    """Return whether a file with this name is a recording."""
    return os.path.splitext(name)[1].casefold() in AUDIO_SUFFIXES and not _is_system_file(name)


def is_system_folder(name: str) -> bool:
    """Return whether a folder with this name belongs to the system or is hidden."""
    return name.startswith(".") or name.casefold() in _SYSTEM_FOLDERS


def subfolders(folder: str | os.PathLike[str]) -> list[str]:
    """Return the names of folders and links to folders directly in a folder, sorted, without system folders.

    Raises:
        DataError: the folder cannot be listed.
    """
    return sorted(e.name for e in _entries(folder) if is_folder(e) and not is_system_folder(e.name))


def files_in(folder: str | os.PathLike[str]) -> list[str]:
    """Return the names of the files directly in a folder, sorted, without hidden and system files.

    Raises:
        DataError: the folder cannot be listed.
    """
    return sorted(e.name for e in _entries(folder) if not is_folder(e) and not _is_system_file(e.name))


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder or a link to a folder; False for a circular link."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_system_file(name: str) -> bool:
    return name.startswith(".") or name.casefold() in _SYSTEM_FILES


def _is_link(entry: os.DirEntry[str]) -> bool:
    """Return whether a folder is a link or a Windows junction."""
    return entry.is_symlink() or bool(getattr(entry, "is_junction", bool)())


def _entries(folder: str | os.PathLike[str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as exc:
        raise DataError(
            f"{os.fspath(folder)}: the folder cannot be listed ({exc.strerror}). Fix its permissions or move it"
        ) from exc


def metadata_file(folder: Path) -> Path | None:
    """Return the audiofolder metadata file of ``folder``; ``None`` without one.

    Raises:
        DataError: there are two metadata files.
    """
    there = [folder / name for name in METADATA if (folder / name).is_file()]
    if len(there) > 1:
        raise DataError(f"{folder}: has {there[0].name} and {there[1].name}. Keep one of them")
    return there[0] if there else None
