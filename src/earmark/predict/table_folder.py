"""An output folder with one file per recording, for programs that open a table next to each recording.

Each file is complete or does not exist. ``earmark.jsonl`` in the folder records the provenance: one line with the
:class:`Provenance` of each job, and one line per file, written before the file, with the hash of its content.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import logging
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from earmark.clips.clip import Clip
from earmark.errors import EarmarkError, OutputError, UsageError
from earmark.formats.recording_name import JOURNAL
from earmark.io.atomic import replace
from earmark.predict.provenance import Provenance, file_state, has_changed, read_json_lines
from earmark.predict.sink import ANY_NAME, longest_name, translated, write_bad_audio, writing_alone
from earmark.predict.table_names import table_names, tells_case
from earmark.text import and_more, counted

logger = logging.getLogger(__name__)

_LIST = "bad_audio.csv"
_PART = ".earmark.part"
_LOCK = ".earmark.lock"
# errors after which no other file can be written either
_OF_THE_FOLDER = {errno.ENOSPC, errno.EDQUOT, errno.EROFS} if hasattr(errno, "EDQUOT") else {errno.ENOSPC, errno.EROFS}


@dataclass(frozen=True)
class _Entry:
    """Entry of a file in the journal."""

    recording: str  # absolute path
    job: str
    sha256: str
    file: list[int] | None = None  # see file_state


class _Journal:
    """The journal ``earmark.jsonl``.

    Attributes:
        jobs: provenance by the key of the job.
        files: last entry of each file, by its name.
        hashes: hashes of all contents that files have had.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: BinaryIO | None = None
        self.jobs: dict[str, Provenance] = {}
        self.files: dict[str, _Entry] = {}
        self.hashes: dict[str, set[str]] = {}
        for line in read_json_lines(path):
            job = Provenance.from_dict(line)
            if job is not None:
                self.jobs[str(line.get("job"))] = job
            elif all(isinstance(line.get(name), str) for name in ("file", "recording", "job", "sha256")):
                self._take(
                    line["file"], _Entry(line["recording"], line["job"], line["sha256"], line.get("size_mtime_ns"))
                )

    def open(self, job: Provenance) -> None:
        """Open the journal to append to it."""
        self._stream = open(self._path, "ab")  # noqa: SIM115  (closed by close)
        if self._stream.tell() > 0:
            with open(self._path, "rb") as whole:
                whole.seek(-1, os.SEEK_END)
                if whole.read(1) != b"\n":  # truncated by a kill
                    self._stream.write(b"\n")
        if job.key not in self.jobs:
            self._append({"job": job.key, **job.to_dict()})
        self._stream.flush()

    def note(self, name: str, entry: _Entry) -> None:
        """Record the content that a file is about to get."""
        line = {"file": name, "recording": entry.recording, "job": entry.job, "sha256": entry.sha256}
        self._append({**line, "size_mtime_ns": entry.file})
        self._take(name, entry)

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            with suppress(OSError):
                self._stream.close()

    def _append(self, line: dict[str, object]) -> None:
        assert self._stream is not None
        self._stream.write(json.dumps(line).encode() + b"\n")
        self._stream.flush()

    def _take(self, name: str, entry: _Entry) -> None:
        self.files[name] = entry
        self.hashes.setdefault(name, set()).add(entry.sha256)


@contextmanager
def open_table_folder(
    folder: Path,
    *,
    inputs: Sequence[str],
    sources: Sequence[str],
    ending: str,
    head: str,
    provenance: Provenance,
    overwrite: bool = False,
    resume: bool = False,
) -> Iterator[TableFolder]:
    """Open a folder of tables.

    Args:
        folder: the output; created if it does not exist.
        inputs: files and folders that were given.
        sources: the recordings in them.
        ending: end of each file's name, after the recording's name.
        head: text at the start of each file.
        provenance: provenance of the tables.
        overwrite: whether to replace tables.
        resume: whether to keep tables that a job with the same model and settings has written.

    Raises:
        OutputError: a table exists already, or the folder cannot be written.
        UsageError: tables were made with another model or other settings.
    """
    with translated(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with writing_alone(folder / _LOCK, folder, "folder"):
        with translated(folder):
            journal = _Journal(folder / JOURNAL)
            of_recordings = {os.path.abspath(source): source for source in sources}
            given = {of_recordings.get(one.recording, one.recording): name for name, one in journal.files.items()}
            names = table_names(
                sources,
                inputs,
                ending,
                longest=longest_name(folder),
                case_sensitive=tells_case(folder),
                given=given if resume else None,
            )
            sink = TableFolder(folder, names, head, provenance, journal)
            sink.check(resume=resume, overwrite=overwrite)
            sink.open()
        try:
            yield sink
        except BaseException:
            with suppress(OutputError):
                sink.complete()
            raise
        finally:
            journal.close()
        sink.complete()


class TableFolder:
    """The tables of a job; see :func:`open_table_folder`."""

    state: Mapping[str, Any] = {}
    earlier_unreadable = 0  # unreadable recordings have no table, so a resumed job retries them

    def __init__(
        self, folder: Path, names: dict[str, str], head: str, provenance: Provenance, journal: _Journal
    ) -> None:
        self._folder, self._names, self._head = folder, names, head
        self._provenance, self._journal = provenance, journal
        self._part = f"{_PART}.{secrets.token_hex(4)}"  # without file locks, two jobs may use one folder
        self._held: list[str] = []
        self._kept: set[str] = set()  # recordings whose tables are kept
        self._bad: list[tuple[str, str]] = []
        self._bad_before: list[tuple[str, str]] = []  # entries from other jobs
        self.bad_audio: Path | None = folder / _LIST

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """Decide which tables to keep. Refuse to start if one of them has another provenance.

        Raises:
            OutputError: a table already exists.
            UsageError: a table was made with another model or other settings.
        """
        changed: list[str] = []
        replaced: list[str] = []
        earlier: Provenance | None = None  # job of another version
        for source, name in self._names.items():
            entry = self._journal.files.get(name)
            state = self._kept_state(source, name, entry, resume=resume, overwrite=overwrite)
            if state is None or entry is None:
                continue
            if state == "ours" and has_changed(source, entry.file):
                replaced.append(source)
                continue
            self._kept.add(source)
            changed += [name] if state == "changed" else []
            job = self._journal.jobs.get(entry.job)
            earlier = job if job is not None and job.version != self._provenance.version else earlier
        if earlier is not None and len(self._kept) < len(self._names):
            self._provenance.warn_of_version(earlier, self._folder)
        note = "%s: %s changed since %s (%s) and %s"
        if replaced:
            count = counted(len(replaced), "recording")
            logger.info(
                note, self._folder, count, "their tables were written", and_more(replaced), "will be predicted again"
            )
        if changed:
            stays = "are kept. Add --overwrite to replace them"
            logger.warning(
                note, self._folder, counted(len(changed), "table"), "earmark wrote them", and_more(changed), stays
            )

    def _kept_state(self, source: str, name: str, entry: _Entry | None, *, resume: bool, overwrite: bool) -> str | None:
        """Return whether a recording's table is ``ours`` or ``changed``; ``None`` if it is written again.

        Raises:
            EarmarkError: the table has another provenance and may not be replaced.
        """
        target = self._folder / name
        if not os.path.lexists(target):
            return None
        problem = self._problem(target, source, entry, resume=resume)
        if problem is not None and not overwrite:
            raise problem
        state = self._state(target, name, entry)
        return None if problem is not None or state == "old" or (overwrite and state == "changed") else state

    def open(self) -> None:
        """Open the journal, and load the list of unreadable recordings of other jobs."""
        for parent in {(self._folder / name).parent for name in self._names.values()}:
            for part in parent.glob(f"{_PART}*"):  # left by a killed job
                part.unlink(missing_ok=True)
        self._journal.open(self._provenance)
        assert self.bad_audio is not None
        with suppress(FileNotFoundError), open(self.bad_audio, encoding="utf-8", errors=ANY_NAME, newline="") as stream:
            rows = [(row[0], row[1]) for row in csv.reader(stream) if len(row) == 2][1:]
            ours = {os.path.abspath(source) for source in self._names}
            self._bad_before = [row for row in rows if os.path.abspath(row[0]) not in ours]

    def remaining(self, clips: Sequence[Clip]) -> list[Clip]:
        """Return the recordings without a table."""
        return [clip for clip in clips if clip.source not in self._kept]

    def write(self, rows: str) -> None:
        """Collect rows of the current recording."""
        self._held.append(rows)

    def finish(
        self, source: str, reason: str | None = None, state: Mapping[str, object] | None = None
    ) -> OutputError | None:
        """Write the recording's file, or list why there is none."""
        content = (self._head + "".join(self._held)).encode("utf-8", ANY_NAME)
        self._held = []
        if reason is not None:
            self._bad.append((source, reason))
            return None
        target = self._folder / self._names[source]
        try:
            self._write(target, source, content)
        except OSError as exc:
            error = OutputError(f"{target}: cannot be written ({exc.strerror or exc})")
            if exc.errno in _OF_THE_FOLDER:
                raise OutputError(f"{error}. The tables written so far are complete. Resume with --resume") from exc
            self._bad.append((source, f"its table cannot be written ({exc.strerror or exc})"))
            return error
        return None

    def drop(self) -> None:
        """Discard the rows of the current recording."""
        self._held = []

    def complete(self) -> None:
        """Write the list of recordings that could not be read or written."""
        assert self.bad_audio is not None
        write_bad_audio(self.bad_audio, [*self._bad_before, *self._bad])

    def _write(self, target: Path, source: str, content: bytes) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(self._part)
        try:
            part.write_bytes(content)
            sha256 = hashlib.sha256(content).hexdigest()
            entry = _Entry(os.path.abspath(source), self._provenance.key, sha256, file_state(source))
            self._journal.note(self._names[source], entry)
            replace(part, target)
        finally:
            with suppress(OSError):
                part.unlink()

    def _problem(self, target: Path, source: str, entry: _Entry | None, *, resume: bool) -> EarmarkError | None:
        """Return why an existing table is not a result of this job; ``None`` if it is."""
        if not resume:
            of = f" and holds the results for {entry.recording}" if entry is not None else ""
            return OutputError(
                f"{target}: exists already{of}. Add --resume to continue a stopped job, --overwrite to replace tables, "
                "or choose another folder"
            )
        if entry is None:
            return OutputError(
                f"{target}: exists already, and {self._folder / JOURNAL} does not record its provenance. Choose "
                "another folder, or add --overwrite to replace it"
            )
        if entry.recording != os.path.abspath(source):
            return OutputError(
                f"{target}: holds the results for {entry.recording}, not for {source}. Choose another folder, or add "
                "--overwrite to replace it"
            )
        difference = self._provenance.difference(self._journal.jobs.get(entry.job))
        if difference is not None:
            return UsageError(
                f"--resume: {target} was written {difference}. Use the same model and settings to continue, "
                "choose another folder, or add --overwrite to replace these tables"
            )
        return None

    def _state(self, target: Path, name: str, entry: _Entry | None) -> str:
        """Return whether a table is ``ours``, from an ``old`` job, or was ``changed`` by somebody."""
        content = target.read_bytes() if target.is_file() else b""
        found = hashlib.sha256(content).hexdigest()
        if entry is not None and found == entry.sha256:
            return "ours"
        return "old" if not content or found in self._journal.hashes.get(name, ()) else "changed"
