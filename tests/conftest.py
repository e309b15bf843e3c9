"""What all tests share: decoded samples go into a folder of the test run, not into the user's cache."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True, scope="session")
def store_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["EARMARK_STORE"] = str(tmp_path_factory.mktemp("store"))
