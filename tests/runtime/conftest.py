"""Exports to run without torch, written here, or before by ``scripts/test-runtime``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime.write_exports import KINDS, WRITTEN, write_exports


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that :func:`tests.runtime.write_exports.write_exports` fills."""
    if WRITTEN:
        return Path(WRITTEN)
    folder = tmp_path_factory.mktemp("runtime")
    write_exports(folder, KINDS)
    return folder
