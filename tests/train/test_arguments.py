from __future__ import annotations

import contextlib
import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from earmark.errors import EarmarkError, MissingExtraError, UsageError
from earmark.extras import require_tracker
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
    with pytest.raises(UsageError, match=f"--deepspeed {path}: {said}"):
        EarmarkTrainingArguments(output_dir=str(tmp_path), use_cpu=True, deepspeed=str(path))


@pytest.mark.skipif(find_spec("deepspeed") is not None, reason="deepspeed is installed")
def test_deepspeed_that_is_not_installed(tmp_path: Path) -> None:
    path = tmp_path / "zero.json"
    path.write_text(json.dumps({"zero_optimization": {"stage": 2}}))
    with pytest.raises(
        MissingExtraError, match=r"--deepspeed needs the package deepspeed\. Install it: pip install deepspeed"
    ):
        EarmarkTrainingArguments(output_dir=str(tmp_path), use_cpu=True, deepspeed=str(path))


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("wandb", MissingExtraError, "--report_to wandb needs the package wandb. Install it: pip install wandb"),
        ("kubeflow", UsageError, "--report_to kubeflow works only in jobs of Kubeflow Trainer"),
        ("tensorbaord", UsageError, "no such tracker; did you mean tensorboard? Choose from none, all"),
    ],
)
def test_a_tracker_that_cannot_be_used(name: str, error: type[EarmarkError], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=re.escape(message)):
        EarmarkTrainingArguments(str(tmp_path), report_to=[name])


def test_every_tracker_of_transformers_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEFLOW_TRAINER_SERVER_URL", "https://127.0.0.1:9")
    for name in INTEGRATION_TO_CALLBACK:
        with contextlib.suppress(MissingExtraError):
            require_tracker(name)


def test_trackers_may_be_separated_by_commas(tmp_path: Path) -> None:
    for value in (["none"], "none"):
        assert EarmarkTrainingArguments(str(tmp_path), report_to=value).report_to == []
    with pytest.raises(UsageError, match="--report_to abacus: Transformers has no such tracker"):
        EarmarkTrainingArguments(str(tmp_path), report_to=["none,abacus"])
