"""Write checkpoints in a hidden folder until they are complete; see :mod:`earmark.train.checkpoints`."""

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
_TORCH_WRITES = ("PytorchStreamWriter", "inline_container", "iostream error")  # texts of torch's write errors
_MORE = 1 << 20  # bytes: more than a writer buffers


@contextmanager
def checkpoint_aside(target: Path, wait: Callable[[], None], *, writes: bool) -> Iterator[Path]:
    """Yield a folder to write a checkpoint into, for :func:`put_in_place`. All ranks call this.

    Args:
        target: ``checkpoint-N`` in the run folder.
        wait: function that waits for all ranks.
        writes: whether this rank writes the model.

    Raises:
        OutputError: the disk is full or cannot be written; half-written files are removed.
    """
    aside = target.parent / UNFINISHED
    with _cleared_when_it_fails(aside), translated_save_errors(target, target.parent):
        if writes:
            shutil.rmtree(aside, ignore_errors=True)  # left over from a killed run
        wait()
        yield aside


def put_in_place(written: Path, target: Path, run: Mapping[str, object]) -> None:
    """Rename a checkpoint to its final name, after all of it is on the disk.

    Args:
        written: the checkpoint in the folder of :func:`checkpoint_aside`.
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
    """Raise an OutputError if weights or states cannot be written, for example to a full disk.

    Args:
        target: path that is written.
        run_dir: the run folder, which contains it.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as exc:
        refusal = _refusal(exc, run_dir)
        if refusal is None and isinstance(exc, RuntimeError) and not any(word in str(exc) for word in _TORCH_WRITES):
            raise
        reason = first_line(exc) if refusal is None else refusal.strerror or first_line(refusal)
        fix = "Free disk space" if refusal is not None and refusal.errno in _FULL else "Fix the cause"
        then = "run again with --resume" if checkpoints_in(run_dir) else "start again"
        raise OutputError(f"{target}: cannot be written ({reason}). {fix}, then {then}.") from exc


def _refusal(exc: Exception, folder: Path) -> OSError | None:
    """Return the system's error if no more bytes can be written, else ``None``.

    torch reports a full disk only as a position in its archive. The files that torch wrote before the failure are still
    on the disk, so writing beyond the size of the largest one reaches the same limit: a full disk, a quota or a limit
    on file sizes.
    """
    if isinstance(exc, OSError):
        return exc
    if number := re.search(r"\(os error (\d+)\)", str(exc)):  # an error of safetensors, which has removed its file
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
