"""What a new task takes: one file with a class, and one line in the registry."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from fastapi.testclient import TestClient

from earmark.cli.main import main
from earmark.http.lifecycle import Lifecycle
from earmark.models.build_model import ModelSource, load_trained
from earmark.predict.classifier import Classifier
from earmark.runs.predictions import read_predictions
from earmark.serve.app import build_app
from earmark.serve.server_metrics import ServerMetrics
from earmark.serve.service import Service
from earmark.serve.stream import Streams
from earmark.settings.serving_flags import ServeOptions
from earmark.tasks import Task, task_registry
from earmark.tasks.reported_task import ShownMetric
from earmark.tasks.task import NO_LABEL, LossSettings
from tests.tiny import RATE_HZ


class Count(Task):
    """How many events a clip has: the exponential of the one logit, learned by the Poisson likelihood."""

    name = "count"
    in_words = "a count"
    no_label = "has no count"
    row_columns = ("error", "rounded")
    shown_metrics = (
        ShownMetric("mae", "Counts off by", curve="MAE", trivial="MAE of always predicting the median"),
        ShownMetric("rmse", "RMSE"),
    )

    def scores(self, logits: np.ndarray) -> np.ndarray:
        return np.exp(logits)

    def logits(self, scores: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(scores, 1e-3)).astype(np.float32)

    def scores_in_graph(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.exp()

    def loss(self, how: LossSettings) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        def of_clips(logits: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
            return torch.where(counts != NO_LABEL, logits[:, 0].exp() - counts * logits[:, 0], 0.0)

        return of_clips

    def prediction_rows(self, *split: Any) -> tuple[list[str], Iterator[list[object]]]:
        columns, rows = super().prediction_rows(*split)
        return [*columns, "rounded"], ([*row, round(float(str(row[2])))] for row in rows)

    def purpose(self, labels: Any, listed: str) -> str:
        return f"It counts {listed}."


def write_clicks(folder: Path) -> Path:
    """A manifest of 12 clips of half a second with 0 to 3 clicks."""
    rng = np.random.default_rng(0)
    rows = [["file", "clicks", "fold"]]
    for i in range(12):
        wave = 0.01 * rng.standard_normal(RATE_HZ // 2)
        wave[rng.choice(len(wave), i % 4, replace=False)] = 1
        soundfile.write(folder / f"{i}.wav", wave, RATE_HZ)
        rows.append([f"{i}.wav", str(i % 4), str(i // 4 % 2)])
    with (folder / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / "clips.csv"


TINY = ["--model_type", "tc_resnet", "--config_overrides", '{"stem_channels": 8, "channels": [8, 8]}']
SMALL = ["--task", "count", "--label_column_name", "clicks", "--device", "cpu", "--precision", "fp32"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    folder, count = tmp_path_factory.mktemp("count"), Count()
    table, run = str(write_clicks(folder)), folder / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task_registry, "TASKS", (*task_registry.TASKS, count))
        words = ["train", "--train_file", table, "--eval_file", table, *SMALL, "--output_dir", str(run)]
        assert main([*words, *TINY, "--max_steps", "2"]) == 0
        yield SimpleNamespace(task=count, table=table, run=run)


def test_a_run_has_its_figures_rows_card_and_report(trained: SimpleNamespace) -> None:
    run = trained.run
    figures = json.loads((run / "metrics.json").read_text())["validation"]
    read = read_predictions(run / "predictions_validation.csv")
    assert read.task is trained.task
    np.testing.assert_array_equal(read.targets, np.arange(12) % 4)
    assert figures["mae"] == pytest.approx(np.abs(read.predictions - read.targets).mean(), rel=1e-4)
    assert "It counts `clicks`." in (run / "README.md").read_text()
    assert (run / "report.html").is_file()


def test_it_is_evaluated_and_compared(
    trained: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(trained.run), "--eval_file", trained.table, "--output_dir", str(tmp_path)]) == 0
    figures, again = (json.loads((run / "metrics.json").read_text())["validation"] for run in (trained.run, tmp_path))
    assert again["mae"] == pytest.approx(figures["mae"], rel=1e-5)
    capsys.readouterr()
    assert main(["report", str(trained.run), str(tmp_path)]) == 0
    assert "MAE of always predicting the median" in capsys.readouterr().out


def test_a_head_is_fitted_in_its_logits_and_answers_in_its_scores(trained: SimpleNamespace, tmp_path: Path) -> None:
    words = ["train", "--train_file", trained.table, *SMALL, "--model_name_or_path", str(trained.run)]
    assert main([*words, "--few_shot", "True", "--report", "false", "--output_dir", str(tmp_path)]) == 0
    audio = load_trained(ModelSource(str(tmp_path)))
    assert audio.task is trained.task
    clip = str(trained.run.parent / "3.wav")
    (answer,) = Classifier.from_pretrained(tmp_path, device="cpu").predict_proba([clip])
    samples = torch.from_numpy(soundfile.read(clip, dtype="float32")[0])
    expected = audio.model(**audio.frontend([samples.numpy()])).logits.exp()
    np.testing.assert_allclose(answer, expected.detach().numpy()[0], rtol=1e-4)


def test_folds_are_summed_up_by_its_figures(
    trained: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--train_file", trained.table, *SMALL, *TINY, "--max_steps", "1", "--output_dir", str(tmp_path)]
    capsys.readouterr()
    assert main([*words, "--fold_column", "fold", "--validation_fraction", "0", "--eval_strategy", "no"]) == 0
    printed = capsys.readouterr().out
    of_folds = [json.loads((tmp_path / f"fold_{fold}" / "metrics.json").read_text())["test"] for fold in (0, 1)]
    found = json.loads((tmp_path / "cross_validation.json").read_text())["mean_and_deviation"]
    for name in ("mae", "rmse", "loss"):
        assert found[name]["mean"] == pytest.approx(np.mean([figures[name] for figures in of_folds]))
    (head,) = (line for line in printed.splitlines() if line.startswith("| Run"))
    assert [cell.strip() for cell in head.strip("|").split("|")] == ["Run", "Split", "Clips", "Counts off by", "RMSE"]
    assert f"{found['mae']['mean']:.4f} ± {found['mae']['deviation']:.4f}" in printed


def test_it_is_served_and_the_page_is_told_how_to_show_it(trained: SimpleNamespace) -> None:
    classifier = Classifier.from_pretrained(trained.run, device="cpu", precision="fp32")
    metrics, lifecycle = ServerMetrics(), Lifecycle(1.0)
    options = ServeOptions(model_name_or_path=str(trained.run))
    service = Service(classifier, options, metrics)
    streams = Streams(classifier, service.batcher, options, lifecycle)
    client = TestClient(build_app(service, streams, lifecycle, metrics, token=None))
    recording = Path(trained.table).parent / "3.wav"
    expected = float(classifier.predict_proba([str(recording)])[0, 0])
    answer = client.post("/v1/timeline", content=recording.read_bytes()).json()
    assert (answer["task"], answer["has_classes"], answer["segments"]) == ("count", False, [])
    assert [one["label"] for one in answer["scores"]] == ["clicks"]
    (classified,) = client.post("/v1/classify", content=recording.read_bytes()).json()
    for score in (answer["scores"][0]["score"], answer["windows"][0]["scores"][0]["score"], classified["score"]):
        assert score == pytest.approx(expected, rel=1e-4)
    streams.close()
    service.close()
