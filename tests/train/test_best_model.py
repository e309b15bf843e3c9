"""The best model is the one that the metric says, whichever direction the metric has."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from earmark.cli.main import main
from earmark.errors import UsageError
from earmark.tasks import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from earmark.train.arguments import EarmarkTrainingArguments
from earmark.train.plan import judged_by
from tests.gallery import numbers
from tests.scoring.test_metric_folder import write_metric
from tests.tiny import write_tones
from tests.train.small import build, make_trainer, usable

SMALL = ["--model_type", "tc_resnet", "--config_overrides", '{"stem_channels": 8, "channels": [8, 8]}']
OF_NUMBERS = ["--task", "regression", "--per_device_train_batch_size", "6"]
QUICK = ["--device", "cpu", "--precision", "fp32", "--report", "false", "--disable_tqdm", "True"]


def arguments(**settings: Any) -> EarmarkTrainingArguments:
    return EarmarkTrainingArguments(output_dir="unused", use_cpu=True, **settings)


def course(run: Path, metric: str) -> list[float]:
    history = json.loads((run / "history.json").read_text())
    return [row[f"eval_{metric}"] for row in history if f"eval_{metric}" in row]


def kept(run: Path, metric: str) -> float:
    return float(json.loads((run / "metrics.json").read_text())["validation"][metric])


@pytest.fixture(scope="module")
def of_numbers(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [*OF_NUMBERS, *numbers(tmp_path_factory.mktemp("numbers") / "data", 24)]


@pytest.mark.parametrize("metric", ["eval_rmse", "r2"])
def test_a_regression_keeps_its_best_epoch(of_numbers: list[str], tmp_path: Path, metric: str) -> None:
    words = [*of_numbers, "--metric_for_best_model", metric, "--num_train_epochs", "4"]
    words += ["--save_total_limit", "1"]
    assert main(["train", *words, *SMALL, *QUICK, "--output_dir", str(tmp_path / "run")]) == 0
    rmse = course(tmp_path / "run", "rmse")
    assert len(set(rmse)) == 4
    # the best epoch by r2 and by RMSE is the same one, because both are functions of the square error
    assert kept(tmp_path / "run", "rmse") == pytest.approx(min(rmse), rel=1e-4)
    assert len(list((tmp_path / "run").glob("checkpoint-*"))) == 1  # the best one


def test_a_search_minimizes_what_is_better_low(of_numbers: list[str], tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    words = [*of_numbers, "--metric_for_best_model", "eval_mae", "--num_train_epochs", "1"]
    words += ["--search_space", "learning_rate=1e-5:1e-1:log", "--trials", "3"]
    assert main(["search", *words, *SMALL, *QUICK, "--output_dir", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "search.json").read_text())
    of_trial = {row["trial"]: row["value"] for row in found["trials"]}
    assert len(set(of_trial.values())) > 1
    assert of_trial[found["best"]] == min(of_trial.values())


def test_a_metric_of_a_folder_chooses_the_best_model(tmp_path: Path) -> None:
    folder = write_metric(tmp_path / "disagreement")
    script = folder / "disagreement.py"
    script.write_text(script.read_text().replace('agreement":', 'disagreement":').replace("a == b", "a != b"))
    data = write_tones(tmp_path / "data", per_class=6, seconds=0.2)
    words = ["--data_dir", str(data), "--metric", str(folder), "--metric_for_best_model", "disagreement"]
    words += ["--greater_is_better", "False", "--num_train_epochs", "2", "--learning_rate", "0.01"]
    run = tmp_path / "run"
    assert main(["train", *words, *SMALL, *QUICK, "--output_dir", str(run)]) == 0
    of_folder, accuracy = course(run, "disagreement"), course(run, "accuracy")
    assert of_folder == pytest.approx([1 - value for value in accuracy])
    assert kept(run, "accuracy") == pytest.approx(max(accuracy))


def test_an_undefined_metric_is_never_the_best(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clips = usable(write_tones(tmp_path / "data", per_class=2, seconds=0.2))
    trainer = make_trainer(build("tc_resnet"), clips, tmp_path / "out", metric_for_best_model="pearson")
    figures = trainer.evaluate()  # of single labels no correlation is known
    assert math.isnan(figures["eval_pearson"])
    assert "pearson is undefined" in caplog.text
    assert not trainer._determine_best_metric(figures, None)


def test_settings_of_every_task() -> None:
    for task, metric, higher in [
        (SINGLE_LABEL, "accuracy", True),
        (MULTI_LABEL, "mean_average_precision", True),
        (REGRESSION, "mae", False),
    ]:
        training = judged_by(arguments(), task)
        assert (training.metric_for_best_model, training.greater_is_better) == (metric, higher)
    # the direction does not depend on whether the best model is kept
    assert arguments(metric_for_best_model="eval_mae", eval_strategy="no").greater_is_better is False
    with pytest.raises(UsageError, match="Choose one of mae"):
        judged_by(arguments(metric_for_best_model="f1"), REGRESSION)


@pytest.mark.parametrize(("metric", "mode"), [("accuracy", "max"), ("loss", "min")])
def test_the_rate_falls_when_the_metric_gets_no_better(metric: str, mode: str) -> None:
    settings = {"lr_scheduler_type": "reduce_lr_on_plateau", "metric_for_best_model": metric}
    kwargs = judged_by(arguments(**settings), SINGLE_LABEL).lr_scheduler_kwargs
    assert isinstance(kwargs, dict)
    assert kwargs["mode"] == mode
    earlier = {"mode": "max" if mode == "min" else "min", "factor": 0.5}  # of a file with another metric
    training = judged_by(arguments(**settings, lr_scheduler_kwargs=earlier), SINGLE_LABEL)
    assert training.lr_scheduler_kwargs == {"mode": mode, "factor": 0.5}
