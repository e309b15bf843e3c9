"""Where answers are written, so that a stopped job goes on where it stopped: recordings are there whole or not at all.

Rows go to ``OUTPUT.part`` as they come; ``OUTPUT.part.done`` lists each finished recording with the size that the rows
then had. Going on cuts the rows back to the last finished recording. Both become ``OUTPUT`` when all is done.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TextIO

from earmark.data.clips import Clip
from earmark.errors import OutputError, UsageError
from earmark.predict.parquet import csv_to_parquet
from earmark.words import counted

logger = logging.getLogger(__name__)

_ANY_NAME = "surrogateescape"  # file names need not be UTF-8; they are written as the bytes they are


class Sink(Protocol):
    """Takes the rows of one recording after another."""

    def left_of(self, clips: Sequence[Clip]) -> list[Clip]:
        """Those that an earlier job has not finished."""

    def write(self, rows: str) -> None:
        """Rows of the recording at hand."""

    def finish(self, source: str, reason: str | None = None) -> None:
        """The recording at hand is done; ``reason``: why it could not be read."""

    def drop(self) -> None:
        """Forget the rows of the recording at hand."""


@contextmanager
def open_sink(
    output: str | None, *, head: str, settings: dict[str, Any], overwrite: bool = False, resume: bool = False
) -> Iterator[Sink]:
    """Open the output.

    Args:
        output: file to write; CSV rows for one that ends in ``.parquet`` become a Parquet file at the end. Standard
            output when ``None``.
        head: first row.
        settings: what the rows depend on; a job goes on only with the same.
        overwrite: replace an existing file.
        resume: go on with the rows of an earlier job.

    Raises:
        OutputError: the file exists, or cannot be written.
        UsageError: the earlier job had other settings.
    """
    if output is None:
        if resume:
            raise UsageError("--resume: standard output cannot be gone on with; add --output FILE")
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors=_ANY_NAME)
        sys.stdout.write(head)
        yield _StandardOutput()
        return
    path = Path(output)
    if path.is_dir():
        raise OutputError(f"{output}: a folder; name a file")
    if path.exists() and not overwrite:
        hint = "it is complete" if resume else "name another file"
        raise OutputError(f"{output}: exists already; {hint}, or add --overwrite")
    with translated(output):
        sink = _PartFile(path, head, settings, resume=resume)
    try:
        yield sink
    finally:
        sink.close()
    with translated(output):
        sink.complete()


class _StandardOutput:
    """Rows for another program; what is written is written."""

    def left_of(self, clips: Sequence[Clip]) -> list[Clip]:
        return list(clips)

    def write(self, rows: str) -> None:
        sys.stdout.write(rows)

    def finish(self, source: str, reason: str | None = None) -> None:
        sys.stdout.flush()

    def drop(self) -> None:
        pass


class _PartFile:
    """A file of rows and its list of finished recordings."""

    def __init__(self, path: Path, head: str, settings: dict[str, Any], *, resume: bool) -> None:
        self._path = path
        self._part, self._list = Path(f"{path}.part"), Path(f"{path}.part.done")
        self._bad_audio = Path(f"{path}.bad_audio.csv")
        self._finished: list[dict[str, Any]] = []
        earlier = self._read_list() if self._part.exists() else []
        if resume and earlier:
            self._check_settings(earlier[0], settings)
            size = self._part.stat().st_size
            self._finished = [entry for entry in earlier[1:] if entry["bytes"] <= size]
            end = self._finished[-1]["bytes"] if self._finished else earlier[0]["bytes"]
            logger.info("going on with %s: %s done", self._part, counted(len(self._finished), "recording"))
        elif earlier[1:]:
            logger.info(
                "%s is replaced (%s; --resume goes on with it)", self._part, counted(len(earlier) - 1, "recording")
            )
        self._rows: TextIO = open(  # noqa: SIM115  (closed by close)
            self._part, "r+" if resume and earlier else "w", encoding="utf-8", errors=_ANY_NAME, newline=""
        )
        if resume and earlier:
            self._rows.truncate(end)
            self._rows.seek(0, os.SEEK_END)
        else:
            self._rows.write(head)
            self._rows.flush()
        self._start = self._rows.tell()
        self._save_list(settings, len(head.encode("utf-8", _ANY_NAME)))

    def left_of(self, clips: Sequence[Clip]) -> list[Clip]:
        done = Counter(entry["path"] for entry in self._finished)
        left = []
        for clip in clips:
            if done[clip.source]:
                done[clip.source] -= 1
            else:
                left.append(clip)
        return left

    def write(self, rows: str) -> None:
        with self._translated():
            self._rows.write(rows)

    def finish(self, source: str, reason: str | None = None) -> None:
        with self._translated():
            self._rows.flush()
            self._start = self._rows.tell()
            self._finished.append({"path": source, "bytes": self._start, "reason": reason})
            self._note(self._finished[-1])

    def drop(self) -> None:
        with self._translated():
            self._rows.flush()
            self._rows.seek(self._start)
            self._rows.truncate()

    def close(self) -> None:
        self._rows.close()
        self._done.close()

    def complete(self) -> None:
        """Give the rows their name, and list what could not be read."""
        bad = [entry for entry in self._finished if entry["reason"] is not None]
        self._bad_audio.unlink(missing_ok=True)
        for entry in bad:
            append_bad_audio(self._bad_audio, entry["path"], entry["reason"])
        if self._path.suffix.lower() == ".parquet":
            csv_to_parquet(self._part, self._path)
            self._part.unlink()
        else:
            os.replace(self._part, self._path)
        self._list.unlink()

    def _translated(self) -> Any:
        return translated(self._path, f"; the rows so far are in {self._part}, --resume goes on with them")

    def _read_list(self) -> list[dict[str, Any]]:
        """What was finished; a last line that was cut off by a kill does not count."""
        entries = []
        try:
            for line in self._list.read_text(encoding="utf-8").splitlines():
                entries.append(json.loads(line))
        except (OSError, ValueError):
            pass
        return entries

    def _check_settings(self, earlier: dict[str, Any], settings: dict[str, Any]) -> None:
        now = json.loads(json.dumps(settings))
        for name, value in now.items():
            if earlier["settings"].get(name) != value:
                before = earlier["settings"].get(name)
                raise UsageError(
                    f"--resume: {self._part} was begun with {name} {before}, not {value}; use the same, or leave "
                    "--resume out to begin again"
                )

    def _save_list(self, settings: dict[str, Any], head_bytes: int) -> None:
        self._done: TextIO = open(self._list, "w", encoding="utf-8", newline="")  # noqa: SIM115  (closed by close)
        for entry in ({"settings": settings, "bytes": head_bytes}, *self._finished):
            self._note(entry)

    def _note(self, entry: dict[str, Any]) -> None:
        self._done.write(json.dumps(entry) + "\n")
        self._done.flush()


class FolderSink:
    """A file for each recording, for programs that load one beside the sound; made whole or not at all.

    Args:
        folder: where they go.
        names: file name for each recording.
        head: first row of each.
        overwrite: replace files that are there.
        resume: leave those out that are there.
    """

    def __init__(self, folder: Path, names: dict[str, str], head: str, *, overwrite: bool, resume: bool) -> None:
        self._folder, self._names, self._head, self._resume = folder, names, head, resume
        self._held: list[str] = []
        self._bad_audio = folder / "bad_audio.csv"
        there = [name for name in names.values() if (folder / name).exists()]
        if there and not (overwrite or resume):
            raise OutputError(f"{folder / there[0]}: exists already; add --resume to go on, or --overwrite")
        with translated(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._bad_audio.unlink(missing_ok=True)

    def left_of(self, clips: Sequence[Clip]) -> list[Clip]:
        """Those without a file."""
        if not self._resume:
            return list(clips)
        return [clip for clip in clips if not (self._folder / self._names[clip.source]).exists()]

    def write(self, rows: str) -> None:
        """Hold rows of the recording at hand."""
        self._held.append(rows)

    def finish(self, source: str, reason: str | None = None) -> None:
        """Write its file, or why there is none."""
        target = self._folder / self._names[source]
        with translated(target):
            if reason is None:
                target.parent.mkdir(parents=True, exist_ok=True)
                part = target.with_name(f"{target.name}.part")
                part.write_text(self._head + "".join(self._held), encoding="utf-8", newline="", errors=_ANY_NAME)
                os.replace(part, target)
            else:
                append_bad_audio(self._bad_audio, source, reason)
        self._held = []

    def drop(self) -> None:
        """Forget them."""
        self._held = []


def append_bad_audio(path: Path, source: str, reason: str) -> None:
    """Put a recording that cannot be read on the list, ``path,reason``, which is there only if it has to be."""
    is_new = not path.exists()
    with open(path, "a", encoding="utf-8", errors=_ANY_NAME, newline="") as stream:
        rows = [*([["path", "reason"]] if is_new else []), [source, reason]]
        csv.writer(stream, lineterminator="\n").writerows(rows)


@contextmanager
def translated(output: object, hint: str = "") -> Iterator[None]:
    """An OSError of the block as an OutputError of ``output``."""
    try:
        yield
    except OSError as exc:
        raise OutputError(f"{output}: cannot be written ({exc.strerror or exc}){hint}") from exc
