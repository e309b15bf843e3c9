from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from earmark.errors import MissingExtraError
from earmark.train.arguments import EarmarkTrainingArguments


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ('{"zero_optimization": {"stage": 3}}', "stage 3 spreads the weights, which scoring needs whole"),
        ("stage: 2", "not a JSON file that can be read"),
        (None, "not a JSON file that can be read"),
    ],
)
def test_deepspeed_settings_that_cannot_be(settings: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "zero.json"
    if settings is not None:
        path.write_text(settings)
    with pytest.raises(ValueError, match=f"--deepspeed {path}: {said}"):
        EarmarkTrainingArguments(output_dir=str(tmp_path), use_cpu=True, deepspeed=str(path))


@pytest.mark.skipif(find_spec("deepspeed") is not None, reason="deepspeed is installed")
def test_deepspeed_that_is_not_installed(tmp_path: Path) -> None:
    path = tmp_path / "zero.json"
    path.write_text(json.dumps({"zero_optimization": {"stage": 2}}))
    with pytest.raises(MissingExtraError, match="--deepspeed needs the package deepspeed: pip install deepspeed"):
        EarmarkTrainingArguments(output_dir=str(tmp_path), use_cpu=True, deepspeed=str(path))
