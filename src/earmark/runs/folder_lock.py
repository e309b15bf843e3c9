"""One process, or the ranks of one run, in an output folder at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from earmark.distributed.ranks import on_main_process
from earmark.io.atomic import no_empty_folder
from earmark.io.locks import locked
from earmark.runs.folder import check_is_no_file, prepare_folder

LOCK_FILE = "_in_use.lock"  # Trainer's uploads leave out what begins with an underscore


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder, which is created if it does not exist and removed if it stays empty.

    In a distributed run all ranks enter together, and rank 0 holds the lock.

    Raises:
        OutputError: another process works in the folder, or the folder cannot be written; on every rank.
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
            lambda holder: f"{folder}: {holder} works in it; wait for that one or end it, or give another --output_dir",
        ):
            yield
