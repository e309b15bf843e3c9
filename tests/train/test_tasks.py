"""Several labels and numbers through the whole way: loss, training, figures, files, prediction, export, going on."""

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
from tests.tiny import ARCHITECTURES, RATE_HZ, overrides, tone
from tests.train.small import make_trainer, usable, write_clips

TONES_HZ = {"high": 3000.0, "low": 300.0, "mid": 1000.0}
LABELS = list(TONES_HZ)


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
@pytest.mark.parametrize("kind", sorted(ARCHITECTURES))
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
    freeze(audio.model, "encoder")
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


def write_table(folder: Path, task: Task, count: int = 48) -> Path:
    """``train.csv`` and ``validation.csv`` of tones: which of three are there, or how high one is."""
    rng = np.random.default_rng(0)
    (folder / "wav").mkdir(parents=True)
    rows: dict[str, list[list[str]]] = {"train": [], "validation": []}
    for i in range(count):
        if task is REGRESSION:
            pitch_hz = float(rng.uniform(300, 3000))
            wave, label = tone(pitch_hz, 0.5, seed=i), f"{pitch_hz:.1f}"
        else:
            there = [name for name in LABELS if rng.random() < 0.4]
            wave = sum((tone(TONES_HZ[name], 0.5, seed=i) for name in there), 0.01 * rng.standard_normal(RATE_HZ // 2))
            label = ",".join(there)
        soundfile.write(folder / "wav" / f"{i}.wav", np.asarray(wave) / 4, RATE_HZ)
        rows["train" if i < count * 3 // 4 else "validation"].append([f"wav/{i}.wav", label])
    for split, of_split in rows.items():
        with (folder / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["file", "pitch_hz" if task is REGRESSION else "label"], *of_split])
    return folder


@pytest.fixture(scope="module", params=[MULTI_LABEL, REGRESSION], ids=lambda task: task.name)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    task: Task = request.param
    folder = tmp_path_factory.mktemp(task.name)
    data = write_table(folder / "data", task)
    words = ["--train_file", str(data / "train.csv"), "--eval_file", str(data / "validation.csv"), "--task", task.name]
    words += ["--label_column_name", "pitch_hz"] if task is REGRESSION else []
    run = folder / "run"
    given = ["train", *words, "--model_type", "tc_resnet", "--num_train_epochs", "12", "--output_dir", str(run)]
    given += [
        "--per_device_train_batch_size",
        "8",
        "--max_length_seconds",
        "0.5",
        "--report",
        "false",
        "--ema",
        "0.5",
        "--learning_rate",
        "1e-3",
    ]
    assert main(given) == 0
    return SimpleNamespace(
        task=task, data=data, run=run, words=[word for word in words if word not in ("--task", task.name)]
    )


def metrics_of(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "metrics.json").read_text())["validation"]
    return values


def test_a_run_has_the_figures_of_its_task(trained: SimpleNamespace) -> None:
    figures, card = metrics_of(trained.run), (trained.run / "README.md").read_text()
    table = results_table([str(trained.run)])
    if trained.task is MULTI_LABEL:
        assert figures["mean_average_precision"] > figures["mean_prevalence"] + 0.2
        assert "It tells of 3 labels which are there" in card
        assert f"mAP {figures['mean_average_precision']:.4f}" in table
    else:
        assert figures["mae"] < figures["median_mae"]
        assert "It answers a number, `pitch_hz`" in card
        assert f"MAE {figures['mae']:.4f}" in table


def test_evaluate_gives_the_figures_of_training_without_being_told_the_task(
    trained: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for word in trained.words if word not in ("--train_file", str(trained.data / "train.csv"))]
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
    words = [word for word in trained.words if word not in ("--train_file", str(trained.data / "train.csv"))]
    status = main(["calibrate", str(trained.run), *words, "--target_precision", "0.9"])
    said = capsys.readouterr()
    if trained.task is REGRESSION:
        assert status == 2
        assert "answers a number, which has no probability to calibrate" in said.err
        return
    try:
        assert status == 0
        decision = json.loads((trained.run / "decision.json").read_text())
        assert decision["task"] == "multi_label"
        classifier = Classifier.from_pretrained(trained.run, device="cpu")
        clip = str(trained.data / "wav" / "40.wav")
        logits = next(iter(classifier.logits([soundfile.read(clip, dtype="float32")[0]])))
        probabilities = sigmoid(logits)
        answered = {one["label"] for one in classifier.predict(clip, top_k=1) if one["present"]}  # type: ignore[index,call-overload]
        thresholds = {name: math.inf if t is None else t for name, t in decision["class_thresholds"].items()}
        assert answered == {
            name for name, p in zip(LABELS, probabilities, strict=True) if p >= thresholds.get(name, 0.5)
        }
    finally:
        (trained.run / "decision.json").unlink(missing_ok=True)


def test_mixed_clips_have_the_labels_of_both(tmp_path: Path) -> None:
    data = write_table(tmp_path / "data", MULTI_LABEL, count=24)
    words = ["train", "--train_file", str(data / "train.csv"), "--task", "multi_label", "--model_type", "tc_resnet"]
    words += ["--augment", "mixup:1", "--max_steps", "2", "--per_device_train_batch_size", "8", "--report", "false"]
    words += ["--class_weights", "balanced", "--focal_gamma", "1", "--label_smoothing_factor", "0.1"]
    assert main([*words, "--output_dir", str(tmp_path / "run")]) == 0


def test_a_regression_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    data = write_table(tmp_path / "data", REGRESSION, count=24)
    words = [
        "train",
        "--train_file",
        str(data / "train.csv"),
        "--task",
        "regression",
        "--label_column_name",
        "pitch_hz",
    ]
    words += ["--eval_file", str(data / "validation.csv"), "--model_type", "tc_resnet", "--report", "false"]
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
    data = write_table(tmp_path / "data", MULTI_LABEL if task == "multi_label" else REGRESSION, count=8)
    column = "label" if task == "multi_label" else "pitch_hz"
    with (data / "validation.csv").open("a", newline="") as file:
        csv.writer(file).writerow(["wav/0.wav", cell])
    words = ["train", "--train_file", str(data / "train.csv"), "--eval_file", str(data / "validation.csv")]
    words += ["--task", task, "--label_column_name", column, "--model_type", "tc_resnet"]
    assert main([*words, "--output_dir", str(tmp_path / "run")]) == 2
    assert what in capsys.readouterr().err
    assert not (tmp_path / "run" / "model.safetensors").exists()
