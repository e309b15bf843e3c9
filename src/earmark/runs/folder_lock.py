"""Let only one process, or the ranks of one run, work in an output folder at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from earmark.distributed.ranks import on_main_process
from earmark.io.atomic import no_empty_folder
from earmark.io.locks import locked
from earmark.runs.folder import check_is_no_file, prepare_folder

LOCK_FILE = "_in_use.lock"  # Trainer does not upload files that begin with an underscore


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Lock a folder against other processes; create it if needed, and remove it if it stays empty.

    In a distributed run, all ranks enter together, and rank 0 holds the lock.

    Raises:
        OutputError: another process works in the folder, or the folder cannot be written. All ranks raise it.
    """
    with ExitStack() as stack:
        on_main_process(lambda: stack.enter_context(_locked(folder)))
        yield


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    check_is_no_file(folder)
    with no_empty_folder(folder):
        prepare_folder(folder)
        with locked(
            folder / LOCK_FILE,
            lambda holder: f"{folder}: {holder} works in it. Wait for it, end it, or give another --output_dir.",
        ):
            yield
