"""The quickstart's settings; that it runs is tested with the README's example."""

from __future__ import annotations

from pathlib import Path

from earmark import quickstart
from earmark.settings.train_settings import parse_train

RECIPE = Path(__file__).parents[1] / "recipes" / "synthetic_tc_resnet.yaml"


def test_the_recipe_is_the_quickstart_taken_apart() -> None:
    settings = parse_train(["--config", str(RECIPE), "--device", "cpu"])
    training = settings.training
    assert {name: getattr(training, name) for name in quickstart._RECIPE} == quickstart._RECIPE
    assert settings.data.silence_percentage == quickstart._SILENCE_PERCENTAGE
    assert f"--utterances {quickstart._UTTERANCES}" in RECIPE.read_text(encoding="utf-8")
