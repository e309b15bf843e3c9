"""The quickstart's settings; that it runs is tested with the README's example."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from earmark import quickstart
from earmark.settings.train_settings import parse_train

RECIPE = Path(__file__).parents[1] / "recipes" / "synthetic_tc_resnet.yaml"


def test_the_recipe_is_the_quickstart_taken_apart() -> None:
    settings = parse_train(["--config", str(RECIPE), "--device", "cpu"])
    training = settings.training
    assert {name: getattr(training, name) for name in quickstart._RECIPE} == quickstart._RECIPE
    assert settings.data.silence_percentage == quickstart._SILENCE_PERCENTAGE
    assert f"--utterances {quickstart._UTTERANCES}" in RECIPE.read_text(encoding="utf-8")


def test_the_command_that_it_prints_can_be_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / ".venv" / "bin" / "earmark"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(script.with_name("python")))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert quickstart._command() == str(Path(".venv", "bin", "earmark"))
    monkeypatch.setenv("PATH", str(script.parent))
    assert quickstart._command() == "earmark"
