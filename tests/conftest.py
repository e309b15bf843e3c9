"""What all tests share: a folder for decoded samples that is not the user's cache, and signals as in a terminal."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import soundfile

from earmark.audio.incomplete import INCOMPLETE
from earmark.audio.samples import CANCELLED
from tests.browser import chromium
from tests.gallery import Gallery

pytest_plugins = ["tests.cpu_times"]


@pytest.fixture(autouse=True, scope="session")
def store_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["EARMARK_STORE"] = str(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def gallery() -> Iterator[Gallery]:
    """Runs that are trained already, by task and family; a test that changes one takes a copy."""
    trained = Gallery()
    yield trained
    trained.close()


@pytest.fixture(autouse=True, scope="session")
def nothing_waits_for_the_disk() -> None:
    """Nothing of a test need survive a power failure, and a disk takes milliseconds for each file that it syncs."""
    os.fsync = lambda descriptor: None
    soundfile.SoundFile.flush = lambda self: None  # syncs each file that is closed; closing it writes it


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> None:
    """Let child processes end on SIGINT: a shell script that starts the suite with ``&`` has it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def modules_out_of_the_collector() -> None:
    """Keep the garbage collector off what imports made: each training has it run, over 500,000 objects in 0.3 s."""
    if len(sys.modules) > len(_FROZEN) + 50:
        gc.collect()  # or cycles that earlier tests left would be kept too
        gc.freeze()
        _FROZEN.update(sys.modules)


_FROZEN: set[str] = set()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Not of the whole session: while it is open, an event loop runs in this thread and asyncio starts no other."""
    with chromium() as started:
        yield started


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a browser as slow."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("slow")


@pytest.fixture(autouse=True)
def random_numbers_of_a_new_process() -> None:
    """Let torch draw the same in a test, whatever ran before; for Python and NumPy, pytest-randomly does so."""
    if "torch" in sys.modules:
        sys.modules["torch"].default_generator.manual_seed(0)


@pytest.fixture(autouse=True)
def log_settings_of_a_new_process() -> Iterator[None]:
    """Undo what a call of ``main`` sets, in tests or their fixtures: what a test logs does not depend on others."""
    _reset_logging()
    yield
    _reset_logging()


def _reset_logging() -> None:
    logger = logging.getLogger("earmark")
    logger.handlers, logger.propagate = [], True
    logger.setLevel(logging.NOTSET)


@pytest.fixture(autouse=True)
def no_notes_about_other_recordings() -> None:
    """Forget what the tests before noted about recordings and did not log."""
    INCOMPLETE.take()
    CANCELLED.take()
