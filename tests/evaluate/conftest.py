"""Clips of two classes, and a model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.evaluate.held_out_runs import LABELS, write
from tests.tiny import save_model


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 clips in two class folders, for reading only."""
    root = tmp_path_factory.mktemp("held_out") / "data"
    for label in LABELS:
        for i in range(30):
            write(root / label / f"{i:02}.wav", i, label)
    return root


@pytest.fixture
def grown(folder: Path, tmp_path: Path) -> Path:
    """The data with three clips that were not there when the run was trained."""
    copy = Path(shutil.copytree(folder, tmp_path / "grown"))
    for i in range(3):
        write(copy / "low" / f"new_{i}.wav", 100 + i, "low")
    return copy


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model, for reading only."""
    return save_model(tmp_path_factory.mktemp("models") / "plain", 1.0)


@pytest.fixture
def model(plain: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(plain, tmp_path / "model"))
