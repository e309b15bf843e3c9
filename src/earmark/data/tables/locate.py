"""Find the recordings that a table names.

A path is looked for in ``--audio_dir`` if it is given, in the folder of the table, and in the working directory; then
below ``--audio_dir``, or else below the folder of the table, as the only file whose path ends like it. In this last
step letter case and Unicode form (NFC, NFD) do not count, and a name without suffix stands for the recording of that
name.
"""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import PurePosixPath

from earmark.data.clips import Reason
from earmark.data.listing import list_audio
from earmark.data.tables.sheet import CellError, Sheet
from earmark.errors import DataError
from earmark.words import counted

_PLACEHOLDER = re.compile(r"^(\{\w+\}|\$\{?\w+\}?)[/\\]+")  # of SpeechBrain: {data_root}/a.wav, $data_root/a.wav
_LABEL_STUDIO = re.compile(r"^[0-9a-f]{8}-(?=.)")  # put before the names of uploaded files
_HOW = "Correct the paths, or name the folder of the recordings with --audio_dir DIR"


class Locator:
    """Finds recordings for one table.

    Args:
        sheet: the table.
        audio_dir: folder of the recordings, if it is named.

    Raises:
        DataError: there is no such folder.
    """

    def __init__(self, sheet: Sheet, audio_dir: str | None) -> None:
        if audio_dir is not None and not os.path.isdir(os.path.expanduser(audio_dir)):
            raise DataError(f"--audio_dir {audio_dir}: no such folder. Correct the path")
        self._sheet = sheet
        self._audio_dir = None if audio_dir is None else os.path.expanduser(audio_dir)
        self._below = self._audio_dir or sheet.folder
        self._folders = [self._below] if self._audio_dir is None else [self._below, sheet.folder]
        self._prefixes = [os.path.join(folder, "") for folder in self._folders]
        self._by_name: dict[str, list[str]] | None = None
        self._found: list[tuple[str, str]] = []  # path in the table, path on disk
        self._missing: list[tuple[int, str]] = []

    def find(self, index: int, path: str) -> str:
        """Return where the recording of a row is; beside the table if it is not there.

        Raises:
            CellError: a web address, or a name that several recordings have.
        """
        if "://" in path:
            raise CellError(f"{path} is a web address: download the recordings and give their paths", kind="address")
        if path[0] == "~":
            path = os.path.expanduser(path)
        direct = self._direct(path)
        if direct is not None:
            return direct
        if os.sep == "/" and "\\" in path and (direct := self._direct(path.replace("\\", "/"))) is not None:
            return direct
        bare = _PLACEHOLDER.sub("", path.rpartition("?d=")[2])  # ?d= of Label Studio's local files
        direct = self._direct(bare) if bare != path else None
        found = direct or self._search(bare)
        if found is not None:
            self._found.append((path, found))
            return found
        self._missing.append((index, path))
        return os.path.join(self._folders[0], path)

    def _direct(self, path: str) -> str | None:
        if os.path.isabs(path):
            return path if os.path.exists(path) else None
        for prefix in self._prefixes:
            if os.path.exists(there := prefix + path):
                return there
        return path if os.path.exists(path) else None

    def _search(self, path: str) -> str | None:
        """Find the one recording below the folder whose path ends in this one."""
        if os.path.isabs(path) and self._audio_dir is None:
            return None
        parts = _parts(path)
        if not parts:
            return None
        shortest = 1 if self._audio_dir is not None or len(parts) == 1 else 2
        named = self._named(parts[-1]) or self._named(_LABEL_STUDIO.sub("", parts[-1]))
        for length in range(len(parts), shortest - 1, -1):
            tail = parts[-length:-1] if length > 1 else []
            matching = [there for there in named if _folders(there, self._below)[-len(tail) :] == tail or not tail]
            if len(matching) > 1:
                matching = [there for there in matching if _ends_with(there, path)] or matching
            if len(matching) > 1:
                raise CellError(
                    f"{path} could be {' or '.join(sorted(matching)[:2])}",
                    "Name the folder of the recordings with --audio_dir DIR, or give longer paths",
                    "several",
                )
            if matching:
                return matching[0]
        return None

    def _named(self, name: str) -> list[str]:
        """Return the recordings below the folder that have this name, or have it before their suffix."""
        if self._by_name is None:
            self._by_name = {}
            for there in list_audio(self._below) if os.path.isdir(self._below) else ():
                self._by_name.setdefault(_plain(there.name), []).append(str(there))
                self._by_name.setdefault(_plain(there.stem), []).append(str(there))
        return self._by_name.get(name, [])

    def report(self) -> str | None:
        """Explain in the sheet what was found elsewhere and what was not; return the latter if it is everything."""
        if self._found:
            path, there = self._found[0]
            self._sheet.explain(
                f"{counted(len(self._found), 'recording')} found below {self._below} by name, e.g. {path} is {there}",
                is_obvious=False,
            )
        if not self._missing:
            return None
        index, path = self._missing[0]
        text = f"{self._sheet.where(index)}: the recording {path!r} was not found{self._others()}. Looked in "
        text += f"{', '.join(self._folders)}, the working directory, and in all folders below {self._below}/ by name. "
        text += self._hint(path) or _HOW
        if len(self._missing) == len(self._sheet):
            return text
        self._sheet.reasons.append(Reason(text, is_obvious=False))
        return None

    def _others(self) -> str:
        count = len(self._missing) - 1
        if len(self._missing) == len(self._sheet):
            return f", nor was any other of the {len(self._sheet):,}" if count else ""
        return f", nor were {counted(count, 'other')}" if count else ""

    def _hint(self, path: str) -> str | None:
        """Say where a recording of the same name is that is in another folder than the table says."""
        parts = _parts(path)
        named = self._named(parts[-1]) if parts else []
        if len(named) != 1:
            return None
        folder = os.path.dirname(named[0])
        return f"A recording of that name is {named[0]}: if it is the same, add --audio_dir {folder}"


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _parts(path: str) -> list[str]:
    return [_plain(part) for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]


def _folders(path: str, below: str) -> list[str]:
    """Return the folders of a file between ``below`` and it."""
    return _parts(os.path.relpath(path, below))[:-1]


def _ends_with(there: str, path: str) -> bool:
    """Whether a file is spelled like the path, letter case included."""
    name = unicodedata.normalize("NFC", PurePosixPath(path.replace("\\", "/")).name)
    own = unicodedata.normalize("NFC", os.path.basename(there))
    return own == name or os.path.splitext(own)[0] == name
