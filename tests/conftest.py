"""What all tests share: decoded samples go into a folder of the test run, not into the user's cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser import chromium


@pytest.fixture(autouse=True, scope="session")
def store_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["EARMARK_STORE"] = str(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Not of the whole session: while it is open, an event loop runs in this thread and asyncio starts no other."""
    with chromium() as started:
        yield started
