"""Find the recordings named in a table.

earmark looks for a path in ``--audio_dir`` if given, in the folder of the table, and in the working directory. If the
file is in none of them, earmark looks for a file whose path ends with this path, below ``--audio_dir`` if given, else
below the folder of the table. This second step ignores letter case and Unicode form (NFC, NFD). A name without a suffix
matches a recording with any suffix, as in RTTM. There must be only one such file; but a file at this path from the
folder of the table is preferred to files in deeper folders.
"""

from __future__ import annotations

import heapq
import os
import re
import unicodedata
from collections import Counter
from pathlib import Path, PurePath, PurePosixPath
from urllib.parse import unquote

from earmark.errors import DataError
from earmark.formats.sheet import CellError, Reason, Sheet
from earmark.io.nearby_names import path_suggestion
from earmark.sources.listing import files_in, is_recording, list_audio
from earmark.text import agreeing, counted

_PLACEHOLDER = re.compile(r"^(\{\w+\}|\$\{?\w+\}?)[/\\]+")  # in SpeechBrain manifests, e.g. {data_root}/a.wav
_LABEL_STUDIO = re.compile(r"^[0-9a-f]{8}-(?=.)")  # prefix of uploaded files
_HOW = "Correct the paths, or name the folder of the recordings with --audio_dir DIR"


class Locator:
    """Finder of the recordings of one table.

    Args:
        sheet: the table.
        audio_dir: folder of the recordings, if given.

    Raises:
        DataError: the folder does not exist.
    """

    def __init__(self, sheet: Sheet, audio_dir: str | None) -> None:
        if audio_dir is not None and not os.path.isdir(os.path.expanduser(audio_dir)):
            missing = Path(audio_dir).expanduser()
            raise DataError(f"--audio_dir {audio_dir}: no such folder{path_suggestion(missing, folders=True)}")
        self._sheet = sheet
        self._audio_dir = None if audio_dir is None else os.path.expanduser(audio_dir)
        self._below = self._audio_dir or sheet.folder
        self._folders = [self._below] if self._audio_dir is None else [self._below, sheet.folder]
        self._prefixes = [os.path.join(folder, "") for folder in self._folders]
        self._files: list[tuple[str, str, tuple[str, ...], str]] | None = None  # name, stem, folders, path
        self._deepest = 1  # largest number of parts in a path below the folder
        self._by_tail: dict[int, dict[tuple[str, ...], list[str]]] = {}  # files by the last 1, 2, ... parts of a path
        self._stems: dict[str, dict[str, str]] = {}  # names of files by folder and stem
        self._spelled: dict[tuple[tuple[str, ...], str], list[str]] = {}
        self._found: list[tuple[str, str]] = []  # path in the table, path on disk
        self._missing: list[tuple[int, str]] = []

    def find(self, index: int, path: str) -> str:
        """Return the path of a row's recording; the path in the first folder that was searched if it was not found.

        Raises:
            CellError: the path is a web address, or matches several recordings.
        """
        if path[:5].casefold() == "file:":
            path = _path_of_url(path)
        if "://" in path:
            raise CellError(f"{path} is a web address", "Download the recordings and use their paths", kind="address")
        if path[0] == "~":
            path = os.path.expanduser(path)
        direct = self._direct(path)
        if direct is not None:
            return direct
        if os.sep == "/" and "\\" in path and (direct := self._direct(path.replace("\\", "/"))) is not None:
            return direct
        bare = _PLACEHOLDER.sub("", path.rpartition("?d=")[2])  # Label Studio writes local files as ...?d=PATH
        direct = self._direct(bare) if bare != path else None
        found = direct or self._search(bare) or self._without_suffix(path)
        if found is not None:
            self._found.append((path, found))
            return found
        self._missing.append((index, path))
        return os.path.join(self._folders[0], path)

    def _direct(self, path: str) -> str | None:
        """Return the file with this path. A folder does not count, because folders may have the ID of a recording."""
        if os.path.isabs(path):
            return path if os.path.isfile(path) else None
        for prefix in self._prefixes:
            if os.path.isfile(there := prefix + path):
                return there
        return path if os.path.isfile(path) else None

    def _search(self, path: str) -> str | None:
        """Return the recording below the folder if exactly one has a path that ends with ``path``."""
        if os.path.isabs(path) and self._audio_dir is None:
            return None
        parts = _parts(path)
        if not parts:
            return None
        shortest = 1 if self._audio_dir is not None or len(parts) == 1 else 2
        if not self._named(parts[-1]):
            parts[-1] = _LABEL_STUDIO.sub("", parts[-1])
        if not self._named(parts[-1]):
            return None
        for length in range(min(len(parts), self._deepest), shortest - 1, -1):
            matching = self._ending_in(tuple(parts[-length:]), path)
            if len(matching) > 1 and self._audio_dir is None and length == len(parts):
                matching = [there for there in matching if self._num_parts(there) == length] or matching
            if len(matching) > 1:
                raise CellError(
                    f"{path} could be {' or '.join(heapq.nsmallest(2, matching))}",
                    "Name the folder of the recordings with --audio_dir DIR, or use longer paths",
                    "several",
                )
            if matching:
                return matching[0]
        return None

    def _num_parts(self, there: str) -> int:
        """Return the length of a recording's path below the folder: 1 beside the table."""
        return len(_parts(os.path.relpath(there, self._below)))

    def _without_suffix(self, path: str) -> str | None:
        """Return the only recording whose path without its suffix is ``path``, absolute or in the working directory."""
        folder, stem = os.path.split(path)
        if folder not in self._stems:
            names = files_in(Path(folder)) if os.path.isdir(folder or os.curdir) else []
            stems = [(os.path.splitext(name)[0], name) for name in names if is_recording(name)]
            counts = Counter(stem for stem, _ in stems)
            self._stems[folder] = {stem: name for stem, name in stems if counts[stem] == 1}
        name = self._stems[folder].get(stem)
        return None if name is None else os.path.join(folder, name)

    def _ending_in(self, tail: tuple[str, ...], path: str) -> list[str]:
        """Return the recordings whose path ends with these parts; if several, those with the exact spelling."""
        matching = self._tails(len(tail)).get(tail, [])
        if len(matching) < 2:
            return matching
        key = tail, unicodedata.normalize("NFC", PurePosixPath(path.replace("\\", "/")).name)
        if key not in self._spelled:
            self._spelled[key] = [there for there in matching if _is_called(there, key[1])] or matching
        return self._spelled[key]

    def _tails(self, length: int) -> dict[tuple[str, ...], list[str]]:
        """Return the recordings below the folder by their last path parts, with and without suffix."""
        if length not in self._by_tail:
            found = self._by_tail[length] = {}
            for name, stem, folders, path in self._list():
                if len(folders) < length - 1:
                    continue
                tail = folders[len(folders) - length + 1 :]
                for last in {name, stem}:
                    found.setdefault((*tail, last), []).append(path)
        return self._by_tail[length]

    def _list(self) -> list[tuple[str, str, tuple[str, ...], str]]:
        if self._files is None:
            self._files = []
            known: dict[PurePath, tuple[str, ...]] = {}
            for there in list_audio(self._below) if os.path.isdir(self._below) else ():
                folders = known.get(there.parent)
                if folders is None:
                    folders = known[there.parent] = tuple(_parts(os.path.relpath(there.parent, self._below)))
                self._deepest = max(self._deepest, len(folders) + 1)
                self._files.append((_plain(there.name), _plain(there.stem), folders, str(there)))
        return self._files

    def _named(self, name: str) -> list[str]:
        """Return the recordings below the folder with this name, with or without suffix."""
        return self._tails(1).get((name,), [])

    def report(self) -> str | None:
        """Explain in the sheet what was found elsewhere or not at all. Return the message if nothing was found."""
        if self._found:
            self._sheet.explain(self._how_found(), is_obvious=False)
        if not self._missing:
            return None
        index, path = self._missing[0]
        text = f"{self._sheet.where(index)}: the recording {path!r} was not found{self._others()}. "
        text += f"{self._looked_in(path)}. {self._hint(path) or _HOW}"
        if len(self._missing) == len(self._sheet):
            return text
        self._sheet.reasons.append(Reason(text, is_obvious=False))
        return None

    def _how_found(self) -> str:
        """Describe which recordings were found by name, with an example that has another name or folder if possible."""
        path, there = next((pair for pair in self._found if not self._is_spelled_alike(*pair)), self._found[0])
        number = f"{counted(len(self._found), 'recording')} {agreeing(len(self._found), 'were')}"
        if self._is_spelled_alike(path, there):
            return (
                f"{number} found below {self._below} although their names on disk have another Unicode form, "
                f"e.g. {path} is written in {_form(path)} in the table and in {_form(there)} on disk"
            )
        return f"{number} found below {self._below} by name, e.g. {path} is {there}"

    def _is_spelled_alike(self, path: str, there: str) -> bool:
        """Return whether a recording has the path in the table, apart from the Unicode form of the path."""
        wanted = unicodedata.normalize("NFC", there)
        return any(unicodedata.normalize("NFC", prefix + path) == wanted for prefix in self._prefixes)

    def _looked_in(self, path: str) -> str:
        below = f"in all folders below {self._below}/ by name"
        if not os.path.isabs(path):
            return f"Looked in {', '.join(self._folders)}, the working directory, and {below}"
        if self._audio_dir is not None:
            return f"Looked there and {below}"
        return "The path is absolute, so no other folder was searched"

    def _others(self) -> str:
        count = len(self._missing) - 1
        if len(self._missing) == len(self._sheet):
            return f", nor was any other of the {len(self._sheet):,} recordings" if count else ""
        return f", nor {agreeing(count, 'were')} {counted(count, 'other')}" if count else ""

    def _hint(self, path: str) -> str | None:
        """Return a hint about a recording of the same name in another folder."""
        parts = _parts(path)
        named = self._named(parts[-1]) if parts else []
        if len(named) != 1:
            return None
        folder = os.path.dirname(named[0])
        return f"{named[0]} has the same name. If it is the recording, add --audio_dir {folder}"


def _form(name: str) -> str:
    """Return the Unicode form of a name, for messages."""
    forms = [form for form in ("NFC", "NFD") if unicodedata.is_normalized(form, name)]
    return forms[0] if len(forms) == 1 else "a mixed form"


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _parts(path: str) -> list[str]:
    return [_plain(part) for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]


def _is_called(there: str, name: str) -> bool:
    """Return whether a file has this exact name, with or without its suffix."""
    own = unicodedata.normalize("NFC", os.path.basename(there))
    return name in (own, os.path.splitext(own)[0])


def _path_of_url(url: str) -> str:
    """Return the path in ``file:///data/a%20b.wav``. URLs of other machines are returned unchanged."""
    rest = url[len("file:") :]
    if rest.startswith("//"):
        host, slash, rest = rest[2:].partition("/")
        if host not in ("", "localhost"):
            return url
        rest = slash + rest
    path = unquote(rest)
    is_windows = re.match(r"/[A-Za-z]:", path) is not None
    return path[1:] if is_windows else path
