"""File names for tables: they keep the folders of the recordings, and no two are equal."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

_HASH_CHARS = 8


def table_names(
    sources: Sequence[str],
    inputs: Sequence[str],
    ending: str,
    *,
    longest: int = 255,
    case_sensitive: bool = True,
    given: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the file name of each recording's table, relative to the output folder, with ``/`` as separator.

    Recordings of one folder keep their path in that folder. Recordings of several folders, or of none, keep their path
    below the deepest folder that contains all inputs. A name that is taken or too long gets a hash of the recording's
    path.

    Args:
        sources: paths of the recordings.
        inputs: files and folders that were given.
        ending: appended to the recording's name, e.g. ``.selections.txt``.
        longest: maximum length of a file name in the file system, in bytes.
        case_sensitive: whether the file system distinguishes ``A`` from ``a``.
        given: names of recordings from an earlier job.
    """
    root = _root(inputs, sources)
    here = set(sources)
    names = {source: name for source, name in (given or {}).items() if source in here}
    taken = _Taken(case_sensitive)
    for name in (given or {}).values():
        taken.add(name)
    for source in sources:
        if source not in names:
            names[source] = next(name for name in _candidates(root, source, ending, longest) if taken.add(name))
    return {source: names[source] for source in sources}


class _Taken:
    """Names of files and folders that are in use."""

    def __init__(self, case_sensitive: bool) -> None:
        self._case_sensitive = case_sensitive
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def add(self, name: str) -> bool:
        """Reserve a name. Return whether it was free."""
        parts = _compared(name, self._case_sensitive).split("/")
        whole = "/".join(parts)
        above = {"/".join(parts[:depth]) for depth in range(1, len(parts))}
        if whole in self._files or whole in self._folders or above & self._files:
            return False
        self._files.add(whole)
        self._folders |= above
        return True


def _candidates(root: str, source: str, ending: str, longest: int) -> Iterator[str]:
    """Yield names for a recording, the preferred one first."""
    folder, name = os.path.split(_below(root, source))
    place = "/".join(_shortened(part, "", longest) for part in folder.split(os.sep) if part)
    prefix = f"{place}/" if place else ""
    yield prefix + _shortened(name, ending, longest)
    yield prefix + _hashed(name, ending, longest, source)
    for number in count(1):  # the hashed name is taken, too
        yield _hashed(name, ending, longest, f"{source} {number}")


def tells_case(folder: Path) -> bool:
    """Return whether the file system of an existing folder distinguishes upper from lower case."""
    probe = folder / ".earmark-case-Aa"
    try:
        probe.touch()
        return not probe.with_name(probe.name.swapcase()).exists()
    except OSError:
        return True
    finally:
        with suppress(OSError):
            probe.unlink()


def _root(inputs: Sequence[str], sources: Sequence[str]) -> str:
    """Return the deepest folder that contains all inputs."""
    recordings = {os.path.abspath(source) for source in sources}
    whole = [os.path.abspath(name) for name in inputs]
    folders = [os.path.dirname(name) if name in recordings else name for name in whole]
    try:
        return os.path.commonpath(folders)
    except ValueError:  # on several drives
        return ""


def _below(root: str, source: str) -> str:
    whole = os.path.abspath(source)
    if root and os.path.commonpath([root, os.path.dirname(whole)]) == root:
        return os.path.relpath(whole, root)
    drive, rest = os.path.splitdrive(whole)
    return os.path.join(*filter(None, (drive.strip(":\\/"), rest.lstrip(os.sep))))


def _compared(name: str, case_sensitive: bool) -> str:
    """Return a key that is equal for names of the same file. macOS does not distinguish Unicode forms."""
    if case_sensitive:
        return name
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _shortened(name: str, ending: str, longest: int) -> str:
    if len(os.fsencode(name + ending)) <= longest:
        return name + ending
    return _hashed(name, ending, longest, name)


def _hashed(name: str, ending: str, longest: int, of: str) -> str:
    mark = hashlib.sha256(os.fsencode(of)).hexdigest()[:_HASH_CHARS]
    tail = f"~{mark}{ending}"
    stem = name
    while len(os.fsencode(stem + tail)) > longest:
        stem = stem[:-1]
    return stem + tail
