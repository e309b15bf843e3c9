"""Several labels and numbers through all stages: loss, training, metrics, files, prediction, export, resuming."""

from __future__ import annotations

import csv
import json
import math
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from transformers import pipeline

from earmark.cli.main import main
from earmark.clips.clip import Clip, ClipTable
from earmark.errors import UsageError
from earmark.models.build_model import ModelSource, build_for_training, load_trained
from earmark.models.forward import fold_unit
from earmark.models.freeze import freeze
from earmark.predict.classifier import Classifier
from earmark.runs.results import results_table
from earmark.store.usable import UsableClips
from earmark.tasks import MULTI_LABEL, REGRESSION, Task, sigmoid
from earmark.tasks.multi_label_loss import LabelsLoss, label_weights
from earmark.tasks.regression_loss import NumberLoss
from earmark.tasks.task import LossSettings
from earmark.train.losses import StepLoss, read_class_weights
from tests.families.tiny_models import KINDS_BY_FAMILY
from tests.gallery import TASK_LABELS, TC_RESNET, Gallery, numbers, several_labels
from tests.tiny import overrides
from tests.train.small import make_trainer, usable, write_clips

LABELS = list(TASK_LABELS)


# -- losses by hand


def labels_loss(logits: list[float], labels: list[float], **settings: Any) -> float:
    return float(LabelsLoss(LossSettings(**settings))(torch.tensor([logits]), torch.tensor([labels])).sum())


def test_the_loss_of_several_labels_by_hand() -> None:
    p = 1 / (1 + math.exp(-1.0))  # of a logit of 1, and 1 - p of -1
    assert labels_loss([1.0, -1.0], [1, 0]) == pytest.approx(-2 * math.log(p), rel=1e-5)
    assert labels_loss([1.0], [1], focal_gamma=2.0) == pytest.approx(-((1 - p) ** 2) * math.log(p), rel=1e-5)
    assert labels_loss([1.0], [0], focal_gamma=2.0) == pytest.approx(-(p**2) * math.log(1 - p), rel=1e-5)
    weights = torch.tensor([3.0, 7.0])
    assert labels_loss([1.0, -1.0], [1, 0], class_weights=weights) == pytest.approx(-4 * math.log(p), rel=1e-5)
    smoothed = -0.95 * math.log(p) - 0.05 * math.log(1 - p)
    assert labels_loss([1.0], [1], label_smoothing=0.1) == pytest.approx(smoothed, rel=1e-5)


def test_rows_that_only_fill_up_count_for_nothing() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 2), torch.tensor([[1.0, 0.0], [-100.0, -100.0], [0.0, 0.0]])
    whole = StepLoss(LabelsLoss(LossSettings()))({"logits": logits}, labels)
    torch.testing.assert_close(whole, StepLoss(LabelsLoss(LossSettings()))({"logits": logits[[0, 2]]}, labels[[0, 2]]))
    loss, numbers = StepLoss(NumberLoss((10.0, 2.0))), torch.tensor([0.5, -100.0])
    answers = torch.tensor([[12.0], [1e6]])
    assert float(loss({"logits": answers}, numbers)) == pytest.approx(0.25)  # (12 - 10) / 2 is 0.5 from 0.5


def test_weights_of_labels_even_out_those_with_and_without() -> None:
    targets = np.zeros((1000, 2), dtype=np.float32)
    targets[:100, 0] = 1
    targets[:2, 1] = 1
    np.testing.assert_allclose(label_weights(None, ["a", "b"], targets), [9, 100])  # at most 100
    np.testing.assert_allclose(label_weights({"b": 5}, ["a", "b"], targets), [1, 5])
    with pytest.raises(UsageError, match="no class 'c'"):
        read_class_weights("c=5", ["a", "b"])


def build(task: Task, kind: str = "tc_resnet", unit: tuple[float, float] | None = None) -> Any:
    torch.manual_seed(0)
    source = ModelSource(model_type=kind, config_overrides=overrides(kind))
    labels = ["pitch_hz"] if task is REGRESSION else LABELS
    return build_for_training(source, labels, 0.5, 0.5, task, unit)


# -- every architecture, whatever its own loss does


def relabelled(clips: UsableClips, task: Task) -> UsableClips:
    """The same clips with several labels, or numbers."""
    several = [("high", "mid"), (), ("low",), ("low", "mid")]
    labels = [float(100 * i) if task is REGRESSION else several[i % 4] for i in range(len(clips.table))]
    table = [Clip(c.source, label=label, path=c.path) for c, label in zip(clips.table, labels, strict=True)]
    return UsableClips(ClipTable(table, "table"), clips.waveforms)


@pytest.mark.parametrize("task", [MULTI_LABEL, REGRESSION])
@pytest.mark.parametrize("kind", KINDS_BY_FAMILY)
def test_every_architecture_learns_it(kind: str, task: Task, tmp_path: Path) -> None:
    clips = {name: relabelled(one, task) for name, one in usable(write_clips(tmp_path / "data", [0.5] * 8)).items()}
    audio = build(task, kind, (350.0, 250.0) if task is REGRESSION else None)
    trainer = make_trainer(audio, clips, tmp_path / "run", max_steps=3)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 3
    assert np.isfinite(losses).all()
    if task is MULTI_LABEL:
        assert losses[0] == pytest.approx(math.log(2), rel=0.5)  # a mean over labels: knowing nothing, one half each
    figures = trainer.evaluate()
    assert np.isfinite(figures["eval_mae" if task is REGRESSION else "eval_mean_average_precision"])


@pytest.mark.parametrize("task", [MULTI_LABEL, REGRESSION])
def test_accumulated_batches_learn_what_one_batch_does(task: Task, tmp_path: Path) -> None:
    clips = {name: relabelled(one, task) for name, one in usable(write_clips(tmp_path / "data", [0.5] * 8)).items()}
    weights = []
    for accumulated in (1, 4):
        audio = build(task, "wav2vec2", (350.0, 250.0) if task is REGRESSION else None)
        for module in audio.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        audio.model.config.apply_spec_augment = False
        settings = {
            "per_device_train_batch_size": 8 // accumulated,
            "gradient_accumulation_steps": accumulated,
            "max_steps": 2,
            "optim": "sgd",
            "max_grad_norm": 0.0,
        }
        trainer = make_trainer(audio, clips, tmp_path / f"run{accumulated}", **settings)
        trainer.train()
        weights.append(torch.cat([weight.detach().flatten() for weight in audio.model.parameters()]))
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("task", [MULTI_LABEL, REGRESSION])
def test_a_probe_is_judged_in_the_unit_that_it_answers_in(task: Task, tmp_path: Path) -> None:
    clips = {name: relabelled(one, task) for name, one in usable(write_clips(tmp_path / "data", [0.5] * 8)).items()}
    audio = build(task, "wav2vec2", (350.0, 250.0) if task is REGRESSION else None)
    freeze(audio, "encoder")
    trainer = make_trainer(audio, clips, tmp_path / "run", num_train_epochs=3)
    with ExitStack() as stack:
        trainer.keep_frozen(stack, tmp_path, small_only=False)
        assert trainer.scorer.probes
        trainer.train()
        on_embeddings = trainer.scorer.score(clips["validation"])
    trainer.scorer.probes = False
    np.testing.assert_allclose(trainer.scorer.score(clips["validation"]), on_embeddings, rtol=1e-4, atol=1e-4)
    before = trainer.scorer.score(clips["validation"])
    fold_unit(audio.model)
    np.testing.assert_allclose(trainer.scorer.score(clips["validation"]), before, rtol=1e-4, atol=1e-2)


# -- from the shell to answers


@pytest.fixture(scope="module", params=[MULTI_LABEL, REGRESSION], ids=lambda task: task.name)
def trained(request: pytest.FixtureRequest, gallery: Gallery) -> SimpleNamespace:
    task: Task = request.param
    one = gallery[f"{task.name} tc_resnet"]
    return SimpleNamespace(task=task, data=one.data, run=one.folder, words=one.data_flags, copy=one.copy)


def metrics_of(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "metrics.json").read_text())["validation"]
    return values


def test_a_run_has_the_figures_of_its_task(trained: SimpleNamespace) -> None:
    figures, card = metrics_of(trained.run), (trained.run / "README.md").read_text()
    table = results_table([str(trained.run)])
    with (trained.run / "predictions_validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == figures["num_clips"] == 12
    if trained.task is MULTI_LABEL:
        there = sum(bool(name) for row in rows for name in row["label"].split(","))
        assert figures["mean_prevalence"] == pytest.approx(there / (12 * len(LABELS)))
        assert "It predicts which of 3 labels apply to a recording" in card
        assert f"mAP {figures['mean_average_precision']:.4f}" in table
    else:
        errors = [abs(float(row["predicted"]) - float(row["label"])) for row in rows]
        assert figures["mae"] == pytest.approx(np.mean(errors), rel=1e-4)
        assert "It predicts a number, `pitch_hz`" in card
        assert f"MAE {figures['mae']:.4f}" in table


def test_evaluate_gives_the_figures_of_training_without_being_told_the_task(
    trained: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = trained.words[2:]  # without the training clips
    if trained.task is REGRESSION:  # nor in which column
        words = [word for word in words if word not in ("--label_column_name", "pitch_hz")]
    given = ["evaluate", str(trained.run), *words, "--output_dir", str(tmp_path), "--report", "false"]
    assert main(given) == 0
    assert metrics_of(tmp_path)["loss"] == pytest.approx(metrics_of(trained.run)["loss"], rel=1e-5)
    capsys.readouterr()
    assert main([*given, "--task", "single_label"]) == 2
    assert f"the model was trained for {trained.task.name}" in capsys.readouterr().err


def test_predictions_name_what_is_there(trained: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    clip = str(trained.data / "wav" / "40.wav")
    assert main(["predict", str(trained.run), clip, "--top_k", "2"]) == 0
    row = next(csv.DictReader(capsys.readouterr().out.splitlines()))
    with (trained.run / "predictions_validation.csv").open() as file:
        told = next(line for line in csv.DictReader(file) if line["path"].endswith("40.wav"))
    if trained.task is MULTI_LABEL:
        assert row["labels"] == told["predicted"]
        assert float(row["score"]) == pytest.approx(max(float(told[f"p({name})"]) for name in LABELS), rel=1e-4)
    else:
        assert float(row["pitch_hz"]) == pytest.approx(float(told["predicted"]), rel=1e-4)
        assert main(["predict", str(trained.run), clip, "--window_seconds", "0.25"]) == 2
        assert "has no segments" in capsys.readouterr().err
        assert main(["predict", str(trained.run), clip, "--window_seconds", "0.25", "--rows", "windows"]) == 0
        assert capsys.readouterr().out.splitlines()[0] == "path,start_s,end_s,pitch_hz"


def test_plain_transformers_answers_alike(trained: SimpleNamespace) -> None:
    samples, rate_hz = soundfile.read(trained.data / "wav" / "3.wav", dtype="float32")
    ours = Classifier.from_pretrained(trained.run, device="cpu").predict(samples, sampling_rate=rate_hz, top_k=3)
    theirs = pipeline("audio-classification", model=str(trained.run))({"raw": samples, "sampling_rate": rate_hz})
    wanted = {one["label"]: one["score"] for one in theirs}
    assert {one["label"]: one["score"] for one in ours} == pytest.approx(wanted, rel=1e-3, abs=1e-4)  # type: ignore[index,call-overload]
    assert "unit" not in load_trained(ModelSource(str(trained.run))).model.config.earmark


@pytest.mark.slow
def test_exports_answer_alike(trained: SimpleNamespace, tmp_path: Path) -> None:
    format = "onnx" if trained.task is MULTI_LABEL else "pt2"
    assert main(["export", str(trained.run), "--format", format, "--output", str(tmp_path / "export")]) == 0
    clips = [str(trained.data / "wav" / f"{i}.wav") for i in range(4)]
    places = (trained.run, tmp_path / "export")
    ours, theirs = (Classifier.from_pretrained(place, device="cpu").predict_proba(clips) for place in places)
    np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-4)
    assert json.loads((tmp_path / "export" / "export.json").read_text())["task"] == trained.task.name


def test_thresholds_of_labels_are_fitted_saved_and_used(
    trained: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, run = trained.words[2:], trained.copy(tmp_path / "run")  # without the training clips
    status = main(["calibrate", str(run), *words, "--target_precision", "0.9"])
    said = capsys.readouterr()
    if trained.task is REGRESSION:
        assert status == 2
        assert "predicts a number, which has no probability to calibrate" in said.err
        return
    assert status == 0
    decision = json.loads((run / "decision.json").read_text())
    assert decision["task"] == "multi_label"
    classifier = Classifier.from_pretrained(run, device="cpu")
    clip = str(trained.data / "wav" / "40.wav")
    logits = next(iter(classifier.logits([soundfile.read(clip, dtype="float32")[0]])))
    probabilities = sigmoid(logits)
    answered = {one["label"] for one in classifier.predict(clip, top_k=1) if one["present"]}  # type: ignore[index,call-overload]
    thresholds = {name: math.inf if t is None else t for name, t in decision["class_thresholds"].items()}
    assert answered == {name for name, p in zip(LABELS, probabilities, strict=True) if p >= thresholds.get(name, 0.5)}


def test_mixed_clips_have_the_labels_of_both(tmp_path: Path) -> None:
    words = ["train", *several_labels(tmp_path / "data", 24), "--task", "multi_label", *TC_RESNET]
    words += ["--augment", "mixup:1", "--max_steps", "2", "--per_device_train_batch_size", "8", "--report", "false"]
    words += ["--class_weights", "balanced", "--focal_gamma", "1", "--label_smoothing_factor", "0.1"]
    assert main([*words, "--output_dir", str(tmp_path / "run")]) == 0


def test_a_regression_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    words = ["train", *numbers(tmp_path / "data", 24), "--task", "regression", *TC_RESNET, "--report", "false"]
    words += ["--per_device_train_batch_size", "6", "--lr_scheduler_type", "constant"]
    assert main([*words, "--num_train_epochs", "2", "--output_dir", str(tmp_path / "whole")]) == 0
    assert main([*words, "--num_train_epochs", "1", "--output_dir", str(tmp_path / "parts")]) == 0
    assert main([*words, "--num_train_epochs", "2", "--output_dir", str(tmp_path / "parts"), "--resume"]) == 0
    answers = [metrics_of(tmp_path / name)["mae"] for name in ("whole", "parts")]
    assert answers[0] == pytest.approx(answers[1], rel=1e-6)


@pytest.mark.parametrize(
    ("cell", "task", "what"),
    [
        ("high,zebra", "multi_label", "labels that no training clip has: 'zebra'"),
        ("loud", "regression", "'loud' is not a number"),
    ],
)
def test_bad_labels_are_one_line(
    cell: str, task: str, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (several_labels if task == "multi_label" else numbers)(tmp_path / "data", 8)
    with (tmp_path / "data" / "validation.csv").open("a", newline="") as file:
        csv.writer(file).writerow(["wav/0.wav", cell])
    assert (
        main(["train", *words, "--task", task, "--model_type", "tc_resnet", "--output_dir", str(tmp_path / "run")]) == 2
    )
    assert what in capsys.readouterr().err
    assert not (tmp_path / "run" / "model.safetensors").exists()
