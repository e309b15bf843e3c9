"""An output file that holds each recording completely or not at all, so that a stopped job can be resumed.

Rows are written to ``OUTPUT.part``. ``OUTPUT.part.done`` has the :class:`Provenance` of the job, then one line for each
finished recording with the size of the part file after it. A resumed job truncates the rows to the last size. When
all recordings are finished, the part file becomes ``OUTPUT``, and ``OUTPUT.earmark.json`` records its provenance.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO

from earmark.clips.clip import Clip
from earmark.errors import OutputError, UsageError
from earmark.io.atomic import replace, replacing
from earmark.io.locks import holder_file
from earmark.predict.provenance import (
    Provenance,
    file_state,
    files_sha256,
    has_changed,
    read_json_lines,
    read_record,
    record_path,
    sources_sha256,
    write_record,
)
from earmark.predict.sink import ANY_NAME, BAD_AUDIO, LOCK, check_output, translated, write_bad_audio, writing_alone
from earmark.text import counted

logger = logging.getLogger(__name__)

Convert = Callable[[Path, Path], None]


@contextmanager
def open_part_file(
    path: Path,
    *,
    head: str,
    provenance: Provenance,
    sources: Sequence[str],
    overwrite: bool = False,
    resume: bool = False,
    convert: Convert | None = None,
) -> Iterator[PartFile]:
    """Open an output file. It is complete when the block ends without an error.

    Args:
        path: path of the output.
        head: text before the first row.
        provenance: provenance of the rows.
        sources: all recordings of the job.
        overwrite: whether to replace an existing output and the rows of a stopped job.
        resume: whether to continue a stopped job; does nothing if it is complete.
        convert: creates the output from the finished rows, given both paths.

    Raises:
        OutputError: the output exists, or cannot be written.
        UsageError: the stopped job had another model, other settings or other recordings.
    """
    check_output(path, sources)
    with translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    sink = PartFile(path, provenance, sources)
    with sink.lock(overwrite=overwrite):
        try:
            with translated(path):
                sink.open(head, overwrite=overwrite, resume=resume)
            yield sink
        except BaseException:
            sink.close()
            sink.keep_or_remove()
            raise
        sink.close()
        with translated(path, lambda: sink.hint):
            sink.complete(convert)


class PartFile:
    """The rows of a job and the list of its finished recordings."""

    def __init__(self, path: Path, provenance: Provenance, sources: Sequence[str]) -> None:
        self._path, self._part, self._list = path, Path(f"{path}.part"), Path(f"{path}.part.done")
        self._provenance, self._sources = provenance, sources
        self._finished: list[dict[str, Any]] = []
        self._rows: BinaryIO | None = None
        self._done: BinaryIO | None = None
        self._start = 0  # start of the current recording's rows
        self._is_ours = False  # whether this job made the part file, and so may remove it
        self.bad_audio: Path | None = Path(f"{path}{BAD_AUDIO}")
        self.earlier_unreadable = 0
        self.is_complete = False

    def lock(self, *, overwrite: bool) -> AbstractContextManager[object]:
        """Return a lock against other jobs. A complete output needs none, and its folder may be read-only.

        If a job was killed after it had completed the output, the lock removes the lock files that the job left.
        """
        lock = Path(f"{self._path}{LOCK}")
        unfinished = (self._part, self._list, lock, holder_file(lock))
        if self._path.exists() and not overwrite and not any(path.exists() for path in unfinished):
            return nullcontext()
        return writing_alone(lock, self._path, "file")

    def open(self, head: str, *, overwrite: bool, resume: bool) -> None:
        """Open the files, or raise; see :func:`open_part_file`."""
        self.is_complete = self._path.exists() and not overwrite
        if self.is_complete:
            self._check_complete(resume=resume)
            return
        if resume:
            self._read_stopped(head)
        else:
            self._discard_stopped(overwrite=overwrite)
        self._open(head)

    @property
    def state(self) -> Mapping[str, object]:
        """State of the rows after the last finished recording."""
        state: Mapping[str, Any] = (self._finished[-1].get("state") if self._finished else None) or {}
        return state

    @property
    def finished(self) -> list[dict[str, object]]:
        """An entry for each finished recording, in order."""
        return self._finished

    @property
    def hint(self) -> str:
        """Hint for error messages on how to continue; empty if nothing is finished."""
        is_kept = bool(self._finished) and self._part.exists()
        return f". {self._part} keeps {self._count_finished()}. Add --resume to continue" if is_kept else ""

    def remaining(self, clips: Sequence[Clip]) -> list[Clip]:
        """Return the recordings that are not finished."""
        if self.is_complete:
            return []
        done = {entry["path"] for entry in self._finished}
        return [clip for clip in clips if clip.source not in done]

    def write(self, rows: str | bytes) -> None:
        """Append rows of the current recording."""
        assert self._rows is not None  # opened if any recording is unfinished
        with self._translated():
            self._rows.write(rows.encode("utf-8", ANY_NAME) if isinstance(rows, str) else rows)

    def finish(
        self, source: str, reason: str | None = None, state: Mapping[str, object] | None = None, **more: object
    ) -> OutputError | None:
        """Record that the recording is finished, with ``more`` in its entry of the list."""
        assert self._rows is not None
        with self._translated():
            self._rows.flush()
            self._start = self._rows.tell()
            entry = {"path": source, "bytes": self._start, "reason": reason, "file": file_state(source)}
            entry |= {"state": dict(state)} if state else {}
            self._note({**entry, **more})
            self._finished.append({**entry, **more})
        return None

    def drop(self) -> None:
        """Truncate the rows to the last finished recording."""
        assert self._rows is not None
        with self._translated():
            self._rows.flush()
            self._rows.seek(self._start)
            self._rows.truncate()

    def close(self) -> None:
        """Close both files."""
        for stream in (self._rows, self._done):
            if stream is not None:
                with suppress(OSError):  # the disk is full, which the caller already knows
                    stream.close()
        self._rows = self._done = None

    def complete(self, convert: Convert | None) -> None:
        """Rename the finished rows, list the recordings that could not be read, and write the provenance."""
        if self.is_complete:
            return
        record_path(self._path).unlink(missing_ok=True)  # the record of the replaced output
        if convert is None:
            replace(self._part, self._path)
        else:
            convert(self._part, self._path)
            self._part.unlink()
        self._write_beside()

    def keep_or_remove(self) -> None:
        """Log how to continue a stopped job, or remove its files if it has read no recording."""
        if not self._is_ours:
            return
        if any(entry["reason"] is None for entry in self._finished) and self._part.exists():
            logger.info("%s keeps %s. Add --resume to continue", self._part, self._count_finished())
            return
        with suppress(OSError, OutputError):
            if self._finished:
                self._write_bad_audio()
        for path in (self._part, self._list):
            with suppress(OSError):
                path.unlink()

    def _write_beside(self) -> None:
        """Write the files next to the output. Without the list of finished recordings it is not a stopped job."""
        self._write_bad_audio()
        write_record(self._path, self._provenance.to_dict(), self._finished)
        self._list.unlink()

    def _write_bad_audio(self) -> None:
        """List the recordings that could not be read."""
        bad = [(entry["path"], entry["reason"]) for entry in self._finished if entry["reason"] is not None]
        assert self.bad_audio is not None
        write_bad_audio(self.bad_audio, bad)

    def _check_complete(self, *, resume: bool) -> None:
        """Accept ``--resume`` for an output that the same job has completed."""
        if not resume:
            raise OutputError(f"{self._path}: exists already. Name another file, or add --overwrite")
        entries = read_json_lines(self._list, to_first_damage=True)
        all_finished = {entry.get("path") for entry in entries[1:]} == set(self._sources)
        if self._part.exists() or (entries and not all_finished):
            raise OutputError(
                f"{self._path}: exists already, and a job that was replacing it was stopped. Use --resume --overwrite "
                "to continue that job"
            )
        if entries:  # the job was killed between renaming the output and writing the record
            self._check_is_same(Provenance.from_dict(entries[0]), self._path)
            self._finished = entries[1:]
            self._write_beside()
        record = read_record(self._path)
        self._check_is_same(Provenance.from_dict(record), self._path)
        if record.get("recordings_sha256") != sources_sha256(self._sources):
            raise UsageError(
                f"--resume: {self._path} is complete for other recordings ({record.get('recordings')}, not "
                f"{len(self._sources)}). Choose another file, or start again with --overwrite"
            )
        self._check_same_files(record.get("files_sha256"))
        self.earlier_unreadable = int(record.get("unreadable", 0))
        logger.info("%s is complete: there is nothing to resume", self._path)

    def _check_same_files(self, before: Any) -> None:
        """Reject a complete output if a recording has changed since."""
        states = {source: file_state(source) for source in self._sources}
        if before is None or None in states.values() or files_sha256(states) == before:
            return
        written_ns = record_path(self._path).stat().st_mtime_ns
        newer = [source for source, state in states.items() if state is not None and state[1] > written_ns]
        raise UsageError(
            f"--resume: {self._path} is complete, and {newer[0] if newer else 'one of its recordings'} has changed "
            "since. Choose another file, or start again with --overwrite"
        )

    def _check_is_same(self, earlier: Provenance | None, where: Path) -> None:
        difference = self._provenance.difference(earlier)
        if difference is not None:
            raise UsageError(
                f"--resume: {where} was written {difference}. Use the same model and settings to continue, "
                "or start again with --overwrite"
            )

    def _read_stopped(self, head: str) -> None:
        """Read which recordings a stopped job has finished."""
        size = self._part.stat().st_size if self._part.exists() else 0
        entries = read_json_lines(self._list, to_first_damage=True)
        if not entries:
            if size > len(head.encode("utf-8", ANY_NAME)):
                raise UsageError(
                    f"--resume: {self._part} cannot be resumed, because {self._list.name} is missing or damaged. Start "
                    "again with --overwrite"
                )
            return
        earlier = Provenance.from_dict(entries[0])
        self._check_is_same(earlier, self._part)
        self._finished = [entry for entry in entries[1:] if entry["bytes"] <= size]
        self._check_sources()
        self.earlier_unreadable = sum(entry["reason"] is not None for entry in self._finished)
        if self._finished:
            assert earlier is not None
            self._provenance.warn_of_version(earlier, self._part)
            logger.info("Resuming: %s of %d are in %s", self._count_finished(), len(self._sources), self._part)

    def _check_sources(self) -> None:
        """Reject recordings other than those of the stopped job, because the output would mix their rows."""
        here = set(self._sources)
        gone = [entry["path"] for entry in self._finished if entry["path"] not in here]
        if gone:
            raise UsageError(
                f"--resume: {self._part} has results for {gone[0]}, which is not one of the recordings "
                f"({len(gone)} of {len(self._finished)} are not). Use the same files and folders, or start again with "
                "--overwrite"
            )
        for entry in self._finished:
            if entry["reason"] is None and has_changed(entry["path"], entry.get("file")):
                raise UsageError(
                    f"--resume: {entry['path']} has changed since its results were written to {self._part}. Start "
                    "again with --overwrite"
                )
        in_order = [entry["path"] for entry in self._finished] == list(self._sources[: len(self._finished)])
        if self.state and not in_order:
            raise UsageError(
                f"--resume: {self._part} counts time from the start of the first recording, but new recordings "
                f"come before its last one. Start again with --overwrite"
            )

    def _discard_stopped(self, *, overwrite: bool) -> None:
        finished = read_json_lines(self._list, to_first_damage=True)[1:] if self._part.exists() else []
        if finished and not overwrite:
            raise OutputError(
                f"{self._part}: holds {counted(len(finished), 'finished recording')} of a stopped job. Add --resume to "
                "continue it, or --overwrite to start again"
            )
        if finished:
            logger.info("Discarding %s with %s", self._part, counted(len(finished), "finished recording"))

    def _open(self, head: str) -> None:
        """Open both files. On disk, the list always includes every recording that is known to be finished."""
        self._is_ours = True
        if not self._finished:
            self._part.unlink(missing_ok=True)
        with replacing(self._list) as fresh, open(fresh, "wb") as stream:
            for entry in (self._provenance.to_dict(), *self._finished):
                stream.write(json.dumps(entry).encode() + b"\n")
        self._done = open(self._list, "ab")  # noqa: SIM115  (closed by close)
        self._rows = open(self._part, "r+b" if self._finished else "wb")  # noqa: SIM115  (closed by close)
        if self._finished:
            self._rows.truncate(self._finished[-1]["bytes"])
            self._rows.seek(0, os.SEEK_END)
        else:
            self._rows.write(head.encode("utf-8", ANY_NAME))
            self._rows.flush()
        self._start = self._rows.tell()

    def _note(self, entry: dict[str, object]) -> None:
        assert self._done is not None
        self._done.write(json.dumps(entry).encode() + b"\n")
        self._done.flush()

    def _count_finished(self) -> str:
        return counted(len(self._finished), "finished recording")

    def _translated(self) -> AbstractContextManager[None]:
        return translated(self._path, lambda: self.hint)
