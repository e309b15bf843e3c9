"""Recordings and a model that tests of the commands may damage, and commands that must fail."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from earmark.cli.main import main
from tests.cli.refusals import Refusal
from tests.gallery import Gallery
from tests.tiny import write_tones


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 training and 6 validation clips of the classes low and high, for reading only."""
    return write_tones(tmp_path_factory.mktemp("data") / "tones", per_class=6, seconds=0.2)


@pytest.fixture
def data(tones: Path, tmp_path: Path) -> Path:
    """A copy of the clips that a test may damage."""
    return Path(shutil.copytree(tones, tmp_path / "data"))


@pytest.fixture
def trained(gallery: Gallery) -> Path:
    """A run that no test may change."""
    return gallery["single_label wav2vec2"].folder


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    """A copy of the model alone that a test may damage."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        shutil.copy(trained / name, folder)
    return folder


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Runs a command that must fail as a user's mistake; its message."""

    def run(*words: str | Path) -> str:
        capsys.readouterr()
        assert main([str(word) for word in words]) == 2
        err = capsys.readouterr().err
        assert "Traceback" not in err
        assert err.count("earmark: error: ") == 1
        return err.partition("earmark: error: ")[2].strip()

    return run
