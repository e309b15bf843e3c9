"""Checkpoints while they are written: in a folder aside until they are whole; see :mod:`earmark.train.checkpoints`."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from earmark.errors import OutputError, first_line
from earmark.io.atomic import sync_stream
from earmark.models.build_model import let_others_read
from earmark.train.checkpoints import UNFINISHED, checkpoints_in, finish_checkpoint

_FULL = {errno.ENOSPC, errno.EDQUOT}
_TORCH_WRITES = ("PytorchStreamWriter", "inline_container", "iostream error")  # in its errors, of several versions
_MORE = 1 << 20  # bytes: more than a writer holds back before it writes


@contextmanager
def checkpoint_aside(target: Path, wait: Callable[[], None], *, writes: bool) -> Iterator[Path]:
    """Yield a folder to write a checkpoint into, from where :func:`put_in_place` takes it. All ranks call this.

    Args:
        target: ``checkpoint-N`` in the run folder.
        wait: for all ranks.
        writes: whether this rank writes the model.

    Raises:
        OutputError: the disk is full or cannot be written; half-written files are removed.
    """
    aside = target.parent / UNFINISHED
    with _cleared_when_it_fails(aside), translated_save_errors(target, target.parent):
        if writes:
            shutil.rmtree(aside, ignore_errors=True)  # what a killed run has left
        wait()
        yield aside


def put_in_place(written: Path, target: Path, run: Mapping[str, object]) -> None:
    """Give a checkpoint its name, when all of it is on the disk.

    Args:
        written: in the folder of :func:`checkpoint_aside`.
        target: ``checkpoint-N`` in the run folder.
        run: facts about the run.
    """
    let_others_read(written)
    finish_checkpoint(written, target, run)
    written.parent.rmdir()


@contextmanager
def _cleared_when_it_fails(aside: Path) -> Iterator[None]:
    """Remove half-written files, to free their space."""
    try:
        yield
    except Exception:
        shutil.rmtree(aside, ignore_errors=True)
        raise


@contextmanager
def translated_save_errors(target: Path, run_dir: Path) -> Iterator[None]:
    """Raise an OutputError for the errors of the writers of weights and states on a full disk.

    Args:
        target: what is written.
        run_dir: the run folder, which it is written into.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as exc:
        refusal = _refusal(exc, run_dir)
        if refusal is None and isinstance(exc, RuntimeError) and not any(word in str(exc) for word in _TORCH_WRITES):
            raise
        reason = first_line(exc) if refusal is None else refusal.strerror or first_line(refusal)
        fix = "make room" if refusal is not None and refusal.errno in _FULL else "fix the cause"
        then = "earlier checkpoints are complete: {}, then continue with --resume"
        hint = (then if checkpoints_in(run_dir) else "{}, then start again").format(fix)
        raise OutputError(f"{target}: cannot be written ({reason}); {hint}") from exc


def _refusal(exc: Exception, folder: Path) -> OSError | None:
    """Return why the system accepts no more bytes, in its own words; ``None`` if it accepts more.

    torch reports a full disk only as a position in its archive, and versions word that differently. Its files are on
    the disk up to the failure, so writing more than the longest of them meets the same limit: a full disk, a quota or a
    limit on the size of files.
    """
    if isinstance(exc, OSError):
        return exc
    if number := re.search(r"\(os error (\d+)\)", str(exc)):  # Rust's, of safetensors, which takes its file away again
        return OSError(int(number[1]), os.strerror(int(number[1])))
    try:
        longest = max((path.stat().st_size for path in folder.rglob("*") if path.is_file()), default=0)
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.seek(longest)
            stream.write(bytes(_MORE))
            sync_stream(stream)
    except OSError as refusal:
        return refusal
    return None
