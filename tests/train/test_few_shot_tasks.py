"""``--few_shot`` for clips of several labels, and for numbers."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import earmark
from earmark.cli.main import main
from earmark.models.build_model import ModelSource, build_for_training, load_trained
from earmark.models.forward import fold_unit
from earmark.runs.results import results_table
from earmark.scoring.inference import score
from earmark.scoring.torch_scorer import TorchScorer
from earmark.tasks import MULTI_LABEL, REGRESSION, Task, sigmoid
from earmark.tasks.linear_fits import fit_labels, fit_number
from earmark.train.few_shot import check_head, fit_few_shot
from tests.gallery import Gallery
from tests.tiny import RATE_HZ, overrides, save_model, tone
from tests.train.small import CPU, make_trainer, usable, write_clips
from tests.train.test_few_shot import regressed_on
from tests.train.test_tasks import LABELS, relabelled


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("base"), 0.5)


def features_and_labels(count: int = 120, labels: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Features far from standardised, one of them constant, and labels that depend on them."""
    rng = np.random.default_rng(0)
    features = 5 + rng.standard_normal((count, 6)) * [1, 10, 0.1, 3, 1, 0]
    maps = rng.standard_normal((labels, 6)) / [1, 10, 0.1, 3, 1, 1]
    logits = (features - 5) @ maps.T - 0.5 + rng.standard_normal((count, labels))
    return features, (logits > 0).astype(np.float32)


def folds(count: int) -> list[str]:
    return [str(i % 5) for i in range(count)]


def test_each_label_has_the_regression_of_scikit_learn() -> None:
    features, there = features_and_labels()
    weights, bias, fitted = fit_labels(features, there, folds(len(there)))
    answered = sigmoid(features @ weights.T + bias)
    for i in range(there.shape[1]):
        alone = make_pipeline(StandardScaler(), LogisticRegression(C=fitted.penalty_c, tol=1e-8, max_iter=5000))
        expected = alone.fit(features, there[:, i]).predict_proba(features)[:, 1]
        np.testing.assert_allclose(answered[:, i], expected, atol=1e-3)
    assert fitted.to_dict().keys() == {"clips", "penalty_c", "precision", "cross_validated_mean_average_precision"}
    assert (fitted.cross_validated or 0) > there.mean() + 0.1


def test_weights_of_clips_with_a_label_are_those_of_scikit_learn() -> None:
    features, there = features_and_labels()
    ratio = np.array([1.0, 2.0, 5.0, 0.5])
    weights, bias, fitted = fit_labels(features, there, folds(len(there)), positive_weights=ratio)
    for i, weight in enumerate(ratio):
        of_clips = np.where(there[:, i] > 0, weight, 1.0)
        of_clips *= len(there) / of_clips.sum()
        rows = StandardScaler().fit_transform(features)
        alone = LogisticRegression(C=fitted.penalty_c, tol=1e-8, max_iter=5000)
        expected = alone.fit(rows, there[:, i], sample_weight=of_clips).predict_proba(rows)[:, 1]
        np.testing.assert_allclose(sigmoid(features @ weights[i] + bias[i]), expected, atol=1e-3)


def test_a_label_that_never_varies_has_one_probability() -> None:
    features, there = features_and_labels(40, labels=3)
    there[:, 0], there[:, 1] = 0, 1
    weights, bias, _ = fit_labels(features, there, folds(40))
    answered = sigmoid(features @ weights.T + bias)
    np.testing.assert_allclose(answered[:, 0], 1 / 42)
    np.testing.assert_allclose(answered[:, 1], 41 / 42)
    assert answered[:, 2].std() > 0.1


def test_one_clip_of_each_label_leaves_no_folds() -> None:
    rng = np.random.default_rng(0)
    features, there = rng.standard_normal((6, 3)), np.eye(6, 3, dtype=np.float32)
    weights, _, fitted = fit_labels(features, there, [str(i) for i in range(6)])
    assert fitted.cross_validated is None
    assert np.abs(weights).min() > 0


def test_the_penalty_is_chosen_by_what_the_folds_say() -> None:
    """Labels that the features do not tell get the strongest penalty, others a weaker one."""
    features, there = features_and_labels(200)
    told = fit_labels(features, there, folds(200))[2]
    noise = np.random.default_rng(1).random(there.shape) < 0.3
    untold = fit_labels(features, noise, folds(200))[2]
    assert untold.penalty_c < told.penalty_c


def test_a_number_has_the_ridge_regression_of_scikit_learn() -> None:
    features, _ = features_and_labels()
    numbers = 1000 + features @ np.array([3.0, 1, 0, -2, 0, 0]) + np.random.default_rng(0).standard_normal(120)
    weights, bias, fitted = fit_number(features, numbers, folds(120))
    ridge = make_pipeline(StandardScaler(), Ridge(alpha=1 / fitted.penalty_c)).fit(features, numbers)
    np.testing.assert_allclose((features @ weights.T + bias)[:, 0], ridge.predict(features), rtol=1e-6)
    assert fitted.cross_validated == pytest.approx(0.8, abs=0.3)  # the mean absolute value of the noise


@pytest.mark.parametrize("task", [MULTI_LABEL, REGRESSION])
@pytest.mark.parametrize("kind", ["audio-spectrogram-transformer", "tc_resnet", "wav2vec2"])  # three kinds of heads
def test_the_saved_model_gives_the_logits_of_the_regression(
    kind: str, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("earmark.tasks.linear_fits._STRENGTHS", (1.0,))  # random bodies have weights near 0 chosen
    clips = {name: relabelled(one, task) for name, one in usable(write_clips(tmp_path / "data", [0.5] * 12)).items()}

    def build() -> Any:
        import torch

        torch.manual_seed(0)
        labels, unit = (["pitch_hz"], (350.0, 250.0)) if task is REGRESSION else (LABELS, None)
        return build_for_training(
            ModelSource(model_type=kind, config_overrides=overrides(kind)), labels, 0.5, 0.5, task, unit
        )

    audio = build()
    check_head(audio)
    trainer = make_trainer(audio, clips, tmp_path / "run")
    fit_few_shot(audio, trainer.given, clips["train"])
    fold_unit(audio.model)
    audio.save(tmp_path / "saved")
    loaded = load_trained(ModelSource(name_or_path=str(tmp_path / "saved")))
    assert loaded.task is task
    waveforms = list(clips["validation"].waveforms.iterate(range(4)))
    logits = np.stack(list(score(TorchScorer(loaded.model, loaded.frontend, CPU), waveforms, batch_size=4)))
    plain, table = build(), clips["train"].table
    features = regressed_on(plain, list(clips["train"].waveforms.iterate(range(len(table)))))
    count = [str(i) for i in range(len(table))]
    if task is REGRESSION:
        weights, bias, _ = fit_number(features, np.array([clip.label for clip in table], dtype=float), count)
    else:
        there = np.array([[name in clip.classes for name in LABELS] for clip in table], dtype=float)
        weights, bias, _ = fit_labels(features, there, count)
    expected = regressed_on(plain, waveforms) @ weights.T + bias
    np.testing.assert_allclose(logits, expected, atol=2e-3 * max(1.0, np.abs(expected).max()))
    assert np.abs(expected).max() > 0.1


def words(base: Path, data: Path, task: Task, run: Path) -> list[str]:
    column = ["--label_column_name", "pitch_hz"] if task is REGRESSION else []
    tables = ["--train_file", str(data / "train.csv"), "--eval_file", str(data / "validation.csv"), *column]
    given = ["--task", task.name, "--model_name_or_path", str(base), "--output_dir", str(run)]
    return ["train", *tables, *given, "--few_shot", "--device", "cpu", "--report", "false"]


def test_a_run_of_several_labels_is_a_run_like_any_other(
    base: Path, gallery: Gallery, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = gallery["multi_label tc_resnet"].data, tmp_path / "run"
    flags = ["--shots", "8", "--class_weights", "balanced", "--calibrate", "true", "--target_precision", "0.8"]
    assert main([*words(base, data, MULTI_LABEL, run), *flags]) == 0
    said = capsys.readouterr().err
    assert "--shots 8, seed 42" in said
    assert "a logistic regression for each label" in said
    metrics = json.loads((run / "metrics.json").read_text())
    fitted = metrics["train"]["few_shot"]
    assert 8 <= fitted["clips"] < 36
    assert fitted["cross_validated_mean_average_precision"] > 0
    with (run / "splits.csv").open() as file:
        trained = [row["clip"] for row in csv.DictReader(file) if row["split"] == "train"]
    with (data / "train.csv").open() as file:
        labels = {row["file"]: row["label"].split(",") for row in csv.DictReader(file)}
    for name in LABELS:
        assert sum(name in labels[path] for path in trained) >= 8
    assert metrics["validation"]["mean_average_precision"] > 0
    decision = json.loads((run / "decision.json").read_text())
    assert decision["task"] == "multi_label"
    assert decision["class_thresholds"].keys() <= set(LABELS)
    card = (run / "README.md").read_text()
    assert f"a logistic regression for each label on embeddings of {fitted['clips']} clips" in card
    assert "mAP across folds of these clips" in card
    assert "learning rate" not in card
    assert f"mAP {metrics['validation']['mean_average_precision']:.4f}" in results_table([str(run)])
    evaluated = ["evaluate", str(run), "--eval_file", str(data / "validation.csv"), "--output_dir", str(tmp_path / "e")]
    assert main([*evaluated, "--device", "cpu", "--report", "false"]) == 0
    again = json.loads((tmp_path / "e" / "metrics.json").read_text())["validation"]
    assert again["loss"] == pytest.approx(metrics["validation"]["loss"], rel=1e-4)


def test_a_number_is_fitted_in_its_unit(base: Path, gallery: Gallery, tmp_path: Path) -> None:
    data, run = gallery["regression tc_resnet"].data, tmp_path / "run"
    assert main(words(base, data, REGRESSION, run)) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["train"]["few_shot"]["cross_validated_mae"] > 10  # Hz, not deviations
    assert metrics["validation"]["mae"] > 10
    card = (run / "README.md").read_text()
    assert "ridge regression on embeddings of 36 clips" in card
    answer = earmark.Classifier.from_pretrained(run, device="cpu").predict(str(data / "wav" / "40.wav"))
    assert 100 < answer[0]["score"] < 4000  # type: ignore[index,call-overload]


def test_python_fits_several_labels(base: Path, gallery: Gallery, tmp_path: Path) -> None:
    data = gallery["multi_label tc_resnet"].data
    run = earmark.train(
        str(data / "train.csv"),
        model=str(base),
        task="multi_label",
        few_shot=True,
        eval_file=str(data / "validation.csv"),
        output_dir=str(tmp_path / "run"),
        device="cpu",
        report=False,
    )
    assert run.classifier().task is MULTI_LABEL


def test_a_label_of_every_clip_is_warned_of(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = []
    for i in range(8):
        soundfile.write(folder / f"{i}.wav", tone(300.0 * (1 + i), 0.5, seed=i), RATE_HZ)
        rows.append([f"{i}.wav", "a,b" if i % 2 else "a"])
    for split in ("train", "validation"):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["file", "label"], *rows])
    assert main(words(base, folder, MULTI_LABEL, tmp_path / "run")) == 0
    assert "every training clip has 'a', so its probability is 0.900 for any clip" in capsys.readouterr().err
    classifier = earmark.Classifier.from_pretrained(tmp_path / "run", device="cpu")
    probabilities = classifier.predict_proba([str(folder / "0.wav"), str(folder / "1.wav")])
    np.testing.assert_allclose(np.asarray(probabilities)[:, 0], 0.9, atol=1e-5)
