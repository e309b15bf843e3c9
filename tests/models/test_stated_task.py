"""``--task`` for taggers whose ``config.json`` does not say that clips have several labels, such as AST of AudioSet."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification, pipeline

import earmark
from earmark.cli.main import main
from earmark.errors import UsageError
from earmark.models.model_source import ModelSource
from earmark.tasks import MULTI_LABEL, SINGLE_LABEL
from tests.tiny import RATE_HZ, save_model, tone

LABELS = ["Bark", "Rain", "Speech"]


def save_tagger(folder: Path, labels: list[str]) -> Path:
    """An AST as it is published: Transformers alone, and no ``problem_type``."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    names = {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
    model = ASTForAudioClassification(ASTConfig(**sizes, num_mel_bins=32, max_length=128, **names))
    with torch.no_grad():
        model.classifier.dense.weight *= 100  # or every probability would be one half
    model.save_pretrained(folder)
    ASTFeatureExtractor(num_mel_bins=32, max_length=128).save_pretrained(folder)
    assert "problem_type" not in json.loads((folder / "config.json").read_text())
    return folder


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tagger(tmp_path_factory.mktemp("tagger"), LABELS)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``clips.csv`` of twelve recordings, some of them without a label."""
    folder = tmp_path_factory.mktemp("clips")
    rows = []
    for i in range(12):
        soundfile.write(folder / f"{i}.wav", tone(200 * 1.3**i, 0.5, seed=i), RATE_HZ)
        rows.append([f"{i}.wav", ",".join(name for k, name in enumerate(LABELS) if i >> k & 1)])
    with (folder / "clips.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["file", "label"], *rows])
    return folder


def test_the_probabilities_are_those_of_a_sigmoid(tagger: Path, clips: Path) -> None:
    clip = str(clips / "3.wav")
    samples, rate_hz = soundfile.read(clip, dtype="float32")
    reference = pipeline("audio-classification", model=str(tagger))
    theirs = reference({"raw": samples, "sampling_rate": rate_hz}, function_to_apply="sigmoid", top_k=3)
    classifier = earmark.Classifier.from_pretrained(tagger, device="cpu", task="multi_label")
    assert classifier.task is MULTI_LABEL
    ours = classifier.predict(clip, top_k=3)
    expected = {one["label"]: one["score"] for one in theirs}
    assert {one["label"]: one["score"] for one in ours} == pytest.approx(expected, abs=1e-4)  # type: ignore[index,call-overload]
    assert all(one["present"] == (one["score"] >= 0.5) for one in ours)  # type: ignore[index,call-overload,typeddict-item]
    single = earmark.Classifier.from_pretrained(tagger, device="cpu")
    assert single.task is SINGLE_LABEL
    assert single.predict_proba([clip]).sum() == pytest.approx(1, abs=1e-5)


def test_predict(tagger: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "labels.csv"
    words = ["predict", str(tagger), str(clips / "3.wav"), "--device", "cpu", "--output", str(output)]
    assert main([*words, "--task", "multi_label", "--top_k", "3"]) == 0
    with output.open() as stream:
        row = next(csv.DictReader(stream))
    scores = earmark.Classifier.from_pretrained(tagger, device="cpu", task="multi_label").predict_proba(
        [str(clips / "3.wav")]
    )
    answered = [name for name, score in zip(LABELS, np.asarray(scores)[0], strict=True) if score >= 0.5]
    assert sorted(filter(None, row["labels"].split(","))) == answered
    assert json.loads((tmp_path / "labels.csv.earmark.json").read_text())["settings"]["task"] == "multi_label"
    capsys.readouterr()
    assert main([*words, "--top_k", "3", "--resume"]) == 2  # rows of another task
    assert "--task multi_label" in capsys.readouterr().err


def test_evaluate_and_calibrate(tagger: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save_tagger(tmp_path / "model", LABELS)
    words = [str(model), "--eval_file", str(clips / "clips.csv"), "--device", "cpu"]
    flags = ["--report", "false", "--output_dir", str(tmp_path / "out")]
    assert main(["evaluate", *words, *flags, "--task", "multi_label"]) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())["validation"]
    assert 0 < metrics["mean_average_precision"] <= 1
    assert metrics["per_label"]["Rain"]["support"] == 6
    evaluation = earmark.evaluate(
        model,
        eval_file=str(clips / "clips.csv"),
        task="multi_label",
        device="cpu",
        report=False,
        output_dir=tmp_path / "python",
    )
    assert evaluation.metrics["loss"] == pytest.approx(metrics["loss"], rel=1e-4)
    loaded = earmark.load_clips(eval_file=str(clips / "clips.csv"), task="multi_label")
    again = earmark.evaluate(model, loaded, device="cpu", report=False, output_dir=tmp_path / "loaded")
    assert again.metrics["loss"] == pytest.approx(metrics["loss"], rel=1e-4)
    assert main(["calibrate", *words, "--task", "multi_label", "--target_precision", "0.6"]) == 0
    assert json.loads((model / "decision.json").read_text())["task"] == "multi_label"
    assert earmark.Classifier.from_pretrained(model, device="cpu", task="multi_label").decision.class_thresholds
    capsys.readouterr()
    assert main(["predict", str(model), str(clips / "3.wav"), "--device", "cpu"]) == 2
    assert "If the model does not name its task, add --task multi_label" in capsys.readouterr().err


@pytest.mark.slow
def test_an_export_records_the_task_it_was_made_with(
    tagger: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "export"
    words = ["--format", "pt2", "--task", "multi_label", "--output", str(output)]
    assert main(["export", str(tagger), *words]) == 0
    assert json.loads((output / "export.json").read_text())["task"] == "multi_label"
    paths = [str(clips / f"{i}.wav") for i in range(4)]
    exported = earmark.Classifier.from_pretrained(output, device="cpu")
    assert exported.task is MULTI_LABEL
    ours = earmark.Classifier.from_pretrained(tagger, device="cpu", task="multi_label")
    np.testing.assert_allclose(exported.predict_proba(paths), ours.predict_proba(paths), rtol=1e-3, atol=1e-4)
    from_python = ours.export(tmp_path / "python", format="pt2")
    assert json.loads((from_python.folder / "export.json").read_text())["task"] == "multi_label"
    capsys.readouterr()
    assert main(["predict", str(output), paths[0], "--task", "single_label"]) == 2
    assert "--task single_label: the model was trained for multi_label" in capsys.readouterr().err


def test_label(tagger: Path, clips: Path, tmp_path: Path) -> None:
    words = ["--task", "multi_label", "--output_dir", str(tmp_path), "--page", "false", "--device", "cpu"]
    assert main(["label", str(clips), "--model", str(tagger), *words]) == 0
    classifier = earmark.Classifier.from_pretrained(tagger, device="cpu", task="multi_label")
    with (tmp_path / "proposals.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 12
    for row in rows:
        [scores] = classifier.predict_proba([str(tmp_path / row["path"])])
        present = sorted(name for name, score in zip(LABELS, scores, strict=True) if score >= 0.5)
        assert row["label"] == ",".join(present)
        assert [name for name, _ in json.loads(row["alternatives"])] == [LABELS[i] for i in np.argsort(-scores)]


@pytest.mark.parametrize("task", ["multi_label", "regression"])
def test_a_run_that_says_its_task_keeps_it(
    task: str, tmp_path: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = save_model(tmp_path / "run", 0.5)  # of single labels, as earmark saves it: without problem_type
    assert main(["predict", str(run), str(clips / "3.wav"), "--device", "cpu", "--task", task]) == 2
    error = f"--task {task}: the model was trained for single_label. Leave --task out."
    assert error in capsys.readouterr().err
    with pytest.raises(UsageError, match="was trained for single_label"):
        earmark.Classifier.from_pretrained(run, device="cpu", task=task)
    assert main(["predict", str(run), str(clips / "3.wav"), "--device", "cpu", "--task", "single_label"]) == 0


def test_what_cannot_be(tagger: Path, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", str(tagger), str(clips / "3.wav"), "--device", "cpu"]
    assert main([*words, "--task", "regression"]) == 2
    assert "--task regression: " in (error := capsys.readouterr().err)
    assert "has 3 outputs" in error
    assert main([*words, "--task", "tagging"]) == 2
    assert "--task tagging: expected single_label, multi_label or regression" in capsys.readouterr().err
    with pytest.raises(UsageError, match="--task tagging: unknown task"):
        earmark.Classifier.from_pretrained(tagger, device="cpu", task="tagging")


def test_a_model_of_many_labels_that_says_nothing_gets_a_hint(
    tagger: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = save_tagger(tmp_path / "many", [f"sound {i}" for i in range(120)])
    words = [str(clips / "3.wav"), "--device", "cpu"]
    assert main(["predict", str(many), *words]) == 0
    hint = "Add --task multi_label if it is a tagger"
    assert hint in capsys.readouterr().err
    assert main(["predict", str(many), *words, "--task", "multi_label"]) == 0
    assert hint not in capsys.readouterr().err
    assert main(["predict", str(tagger), *words]) == 0
    assert hint not in capsys.readouterr().err
    assert ModelSource(str(many)).task is None
