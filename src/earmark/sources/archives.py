"""Extract tar and zip archives once, into a cache folder."""

from __future__ import annotations

import gzip
import logging
import os
import shutil
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

from earmark.errors import DataError, OutputError
from earmark.io.hashes import short_sha256

logger = logging.getLogger(__name__)

CACHE_VARIABLE = "EARMARK_CACHE"
ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")

_BLOCK_BYTES = 1 << 20
_STALE_S = 24 * 3600  # partly extracted folders this old belong to killed runs
# errors of tarfile for a broken file; BadGzipFile is an OSError, so catch it before other OSErrors
_BROKEN = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile)
# the last two: a password, an unknown compression method
_BROKEN_ZIP = (zipfile.BadZipFile, EOFError, zlib.error, RuntimeError, NotImplementedError)
_NOT_CONTENT = ("__MACOSX",)  # added by macOS when it packs a folder


def cache_folder() -> Path:
    """Return ``$EARMARK_CACHE``, or ``~/.cache/earmark`` if it is not set."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "earmark")


def extracted(archive: Path) -> Path:
    """Extract an archive, unless the cache already has it.

    The cache key is the archive's name, size and modification time. The folder gets its final name when it is complete,
    so several processes may call this at once, and a killed one leaves no partial result behind.

    Args:
        archive: a file with the suffix ``.zip``, or a tar file, which may be compressed.

    Returns:
        The folder with the archive's members, or their single top folder.

    Raises:
        DataError: the archive is not a tar or zip file, is truncated or would write outside its folder, or this
            version of Python cannot extract it safely.
        OutputError: the cache folder cannot be written.
    """
    # Python 3.10.12 and 3.11.4 added data_filter. Without it, a member named ../x is written outside the folder.
    if not _is_zip(archive) and not hasattr(tarfile, "data_filter"):
        raise DataError(
            f"{archive}: Python {sys.version.split()[0]} cannot extract archives safely (3.10.12, 3.11.4 or 3.12 "
            "can). Update Python, or extract the archive yourself and pass the folder"
        )
    status = archive.stat()
    identity = f"{archive.name}\0{status.st_size}\0{status.st_mtime_ns}"
    target = cache_folder() / "archives" / f"{_stem(archive.name)}-{short_sha256(identity)}"
    if not target.is_dir():
        _extract(archive, target)
    return _top_folder(target)


def is_archive(path: Path) -> bool:
    """Return whether a file has the suffix of an archive."""
    return path.name.casefold().endswith(ARCHIVE_SUFFIXES)


def _is_zip(archive: Path) -> bool:
    return archive.suffix.casefold() == ".zip"


def _stem(name: str) -> str:
    suffix = next((suffix for suffix in ARCHIVE_SUFFIXES if name.casefold().endswith(suffix)), "")
    return name[: len(name) - len(suffix)]


def _extract(archive: Path, target: Path) -> None:
    partial = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(target.parent)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=target.parent))
        logger.info("extracting %s into %s", archive, target)
        _extract_members(archive, partial)
        _put_in_place(partial, target)
    except OSError as exc:
        raise OutputError(
            f"{archive}: cannot be extracted into {target.parent} ({exc.strerror or exc}). Free space there, or set "
            f"{CACHE_VARIABLE} to another folder"
        ) from exc
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


def _extract_members(archive: Path, folder: Path) -> None:
    try:
        file = archive.open("rb")
    except OSError as exc:
        raise DataError(f"{archive}: cannot be read ({exc.strerror or exc}). Fix its permissions") from exc
    if _is_zip(archive):
        with file:
            _extract_zip(archive, file, folder)
        return
    try:
        with file, tarfile.open(fileobj=file) as tar:
            tar.extractall(folder, filter="data")
            while tar.fileobj is not None and tar.fileobj.read(_BLOCK_BYTES):
                pass  # gzip verifies its checksum at the very end, after the last member
    except _BROKEN as exc:
        raise _damaged(archive, "tar", exc) from exc


def _extract_zip(archive: Path, file: BinaryIO, folder: Path) -> None:
    """Extract a zip file. :mod:`zipfile` keeps members named ../x or /x inside the folder and verifies checksums."""
    try:
        with zipfile.ZipFile(file) as packed:
            packed.extractall(folder)
    except _BROKEN_ZIP as exc:
        raise _damaged(archive, "zip", exc) from exc


def _damaged(archive: Path, kind: str, exc: Exception) -> DataError:
    reason = (str(exc).splitlines() or [type(exc).__name__])[0].rstrip(":")
    return DataError(f"{archive}: not a valid {kind} archive ({reason}). Download it again")


def _put_in_place(partial: Path, target: Path) -> None:
    partial.chmod(0o755)  # mkdtemp denies access to other users
    try:
        partial.rename(target)
    except OSError:
        if not target.is_dir():  # otherwise another process was first and extracted the same files
            raise


def _remove_stale(folder: Path) -> None:
    for partial in folder.glob(".partial-*"):
        try:
            stale = time.time() - partial.stat().st_mtime > _STALE_S
        except FileNotFoundError:
            continue
        if stale:
            shutil.rmtree(partial, ignore_errors=True)


def _top_folder(folder: Path) -> Path:
    entries = [entry for entry in folder.iterdir() if entry.name not in _NOT_CONTENT]
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else folder
