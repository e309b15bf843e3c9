"""``--few_shot``: a head by logistic regression on embeddings, in a checkpoint like any other."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import earmark
from earmark.cli.main import main
from earmark.errors import ModelError
from earmark.models.build_model import ModelSource, load_trained
from earmark.scoring.diagnosis import Schedule, diagnose
from earmark.scoring.inference import score
from earmark.scoring.torch_scorer import TorchScorer
from earmark.tasks import softmax
from earmark.tasks.linear_fits import fit_classes
from earmark.tasks.single_label_figures import compute_metrics
from earmark.train.few_shot import check_head, fit_few_shot
from tests.families.tiny_models import KINDS_BY_FAMILY
from tests.gallery import Gallery
from tests.tiny import RATE_HZ, save_model, tone, write_tones
from tests.train.small import CPU, alike, build, make_trainer, mixed_lengths_s, usable, write_clips


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("base"), 1.0)


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("tones"), per_class=6)


def train(base: Path, data: Path, output: Path, *flags: str) -> int:
    words = ["--model_name_or_path", str(base), "--data_dir", str(data), "--output_dir", str(output)]
    return main(["train", *words, "--few_shot", "--device", "cpu", "--report", "false", *flags])


@pytest.mark.parametrize("kind", KINDS_BY_FAMILY)
def test_the_saved_model_answers_as_the_regression_does(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "earmark.tasks.linear_fits._STRENGTHS", (1.0,)
    )  # random bodies would have weights near 0 chosen
    clips = usable(write_clips(tmp_path / "clips", mixed_lengths_s(12, longest_s=0.5)))
    audio = build(kind)
    check_head(audio)
    trainer = make_trainer(audio, clips, tmp_path / "run")
    fit_few_shot(audio, trainer.given, clips["train"])
    audio.save(tmp_path / "saved")
    loaded = load_trained(ModelSource(name_or_path=str(tmp_path / "saved")))
    waveforms = list(clips["validation"].waveforms.iterate(range(4)))
    logits = np.stack(list(score(TorchScorer(loaded.model, loaded.frontend, CPU), waveforms, batch_size=4)))
    # the regression again, on embeddings that the model before it gives
    plain = build(kind)
    targets = np.array([sorted(("high", "low")).index(clip.label) for clip in clips["train"].table])
    features = regressed_on(plain, list(clips["train"].waveforms.iterate(range(len(targets)))))
    weights, bias, _ = fit_classes(features, targets, seed=trainer.args.seed)
    expected = regressed_on(plain, waveforms) @ weights.T + bias
    np.testing.assert_allclose(logits, expected, atol=2e-3 * max(1.0, np.abs(expected).max()))
    assert np.abs(expected).max() > 0.1


def regressed_on(audio: Any, waveforms: list[np.ndarray]) -> np.ndarray:
    """Embeddings (N, D) one by one; of AST behind its head's norm."""
    rows = []
    audio.model.eval()
    for waveform in waveforms:
        samples, num_samples = audio.frontend.pack([waveform])
        with torch.inference_mode():
            row = audio.model(**audio.frontend.inputs(samples, num_samples), stop_at="embeddings")
            norm = getattr(audio.model.classifier, "layernorm", None)
            rows.append((row if norm is None else norm(row))[0].double().numpy())
    return np.stack(rows)


@pytest.mark.parametrize(
    ("has_bf16", "flags", "precision"),
    [(True, [], "bf16"), (False, [], "fp32"), (True, ["--precision", "fp32"], "fp32"), (False, ["--bf16"], "bf16")],
)
def test_the_precision_of_the_embeddings(
    has_bf16: bool,
    flags: list[str],
    precision: str,
    base: Path,
    tones: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    monkeypatch.setattr("earmark.scoring.torch_scorer.supports_bf16", lambda _: has_bf16)
    assert train(base, tones, tmp_path / "run", *flags) == 0
    assert f"12 clips in {precision} (logistic regression)" in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["train"]["few_shot"]["precision"] == precision
    saved = load_trained(ModelSource(name_or_path=str(tmp_path / "run"))).model
    assert {parameter.dtype for parameter in saved.parameters()} == {torch.float32}


def test_a_run_in_seconds_is_a_run_like_any_other(base: Path, tones: Path, tmp_path: Path, capsys: Any) -> None:
    run = tmp_path / "run"
    assert train(base, tones, run, "--shots", "4") == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["train"]["few_shot"]["clips"] == 8
    splits = [line.split(",")[0] for line in (run / "splits.csv").read_text().splitlines()]
    assert splits == ["split", *["train"] * 8, *["validation"] * 6]  # what --shots left out was not trained on
    assert 0 <= metrics["train"]["few_shot"]["cross_validated_accuracy"] <= 1
    assert metrics["train"]["steps"] == 0
    card = (run / "README.md").read_text()
    assert "logistic regression on embeddings of 8 clips" in card
    assert "learning rate" not in card
    said = capsys.readouterr().err
    assert "learning rate" not in said
    assert "keep_head" not in said
    assert "8 training clips, 6 validation clips" in said
    classifier = earmark.Classifier.from_pretrained(run, device="cpu")
    with (run / "predictions_validation.csv").open(newline="") as stream:
        judged = {row["path"]: row["predicted"] for row in csv.DictReader(stream)}
    assert [top[0]["label"] for top in classifier.predict(list(judged))] == list(judged.values())  # type: ignore[index]
    assert main(["evaluate", str(run), "--data_dir", str(tones), "--device", "cpu", "--report", "false"]) == 0
    again = json.loads(next(run.glob("evaluation*/metrics.json")).read_text())
    assert again["validation"]["accuracy"] == metrics["validation"]["accuracy"]


def test_the_draw_is_by_class_and_by_seed(base: Path, tones: Path, tmp_path: Path, capsys: Any) -> None:
    assert train(base, tones, tmp_path / "runs", "--shots", "2", "--seeds", "0,1") == 0
    out = capsys.readouterr()
    assert "4 of 12 training clips were drawn (--shots 2, seed 0)" in out.err
    assert "4 of 12 training clips were drawn (--shots 2, seed 1)" in out.err
    assert "selected the best model of each run" not in out.out
    results = json.loads((tmp_path / "runs" / "cross_validation.json").read_text())
    assert [row["run"] for row in results["runs"]] == ["seed_0", "seed_1"]
    assert train(base, tones, tmp_path / "runs", "--shots", "2", "--seeds", "0,1") == 0  # finished: nothing is redone
    assert "finished already" in capsys.readouterr().err


def test_folds(base: Path, tones: Path, tmp_path: Path) -> None:
    assert train(base, tones / "train", tmp_path / "runs", "--folds", "2") == 0
    results = json.loads((tmp_path / "runs" / "cross_validation.json").read_text())
    assert [row["split"] for row in results["runs"]] == ["test", "test"]


def test_one_clip_a_class_and_three_classes(base: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for split in ("train", "validation"):
        for i, (label, pitch_hz) in enumerate({"low": 300, 'a "mid", 中': 1000, "high": 3000}.items()):
            place = data / split / label
            place.mkdir(parents=True)
            soundfile.write(place / "a.wav", tone(pitch_hz, 0.5, seed=i if split == "train" else i + 7), RATE_HZ)
    assert train(base, data, tmp_path / "run") == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["train"]["few_shot"]["cross_validated_accuracy"] is None
    assert 'a "mid", 中' in earmark.Classifier.from_pretrained(tmp_path / "run", device="cpu").labels


def test_long_clips_count_as_the_mean_of_their_windows(tmp_path: Path) -> None:
    clips = usable(write_clips(tmp_path / "clips", [1.3, 0.4, 1.3, 0.4, 1.3, 0.4]))
    audio = build("wav2vec2", length_s=0.5)
    fitted = fit_few_shot(audio, make_trainer(audio, clips, tmp_path / "run").given, clips["train"])
    assert fitted.clips == 6


@pytest.mark.parametrize("num_classes", [2, 4])
def test_the_map_is_that_of_the_regression(num_classes: int) -> None:
    """On embeddings as they come, far from standardised."""
    rng = np.random.default_rng(0)
    targets = np.arange(60) % num_classes
    features = 5 + rng.standard_normal((60, 6)) * [1, 10, 0.1, 3, 1, 0] + np.eye(num_classes, 6)[targets]
    weights, bias, fitted = fit_classes(features, targets)
    regression = make_pipeline(StandardScaler(), LogisticRegression(C=fitted.penalty_c, max_iter=2000))
    expected = regression.fit(features, targets).predict_proba(features)
    np.testing.assert_allclose(softmax(features @ weights.T + bias), expected, atol=1e-6)


def test_classes_that_weigh_the_same() -> None:
    rng = np.random.default_rng(0)
    targets = np.repeat([0, 1], [90, 10])
    features = rng.standard_normal((100, 4)) + 0.5 * targets[:, None]
    plain = fit_classes(features, targets)[1]
    balanced = fit_classes(features, targets, balanced=True)[1]
    assert balanced[1] - balanced[0] > plain[1] - plain[0] + 1


def test_more_clips_than_the_penalty_is_chosen_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earmark.tasks.linear_fits._MOST_TRIED", 50)
    rng = np.random.default_rng(0)
    targets = np.repeat([0, 1, 2], 100)
    features = rng.standard_normal((300, 5)) + 2 * np.eye(3, 5)[targets]
    weights, bias, fitted = fit_classes(features, targets)
    assert fitted.clips == 300
    assert ((features @ weights.T + bias).argmax(axis=1) == targets).mean() > 0.75


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--num_train_epochs", "4"], "--num_train_epochs has no effect"),
        (["--num_train_epochs", "3"], "--num_train_epochs has no effect"),  # what it would be anyway
        (["--num-train-epochs=3"], "--num_train_epochs has no effect"),
        (["--freeze", "none"], "--freeze has no effect"),
        (["--warmup_ratio", "0.1"], "--warmup_steps has no effect"),
        (["--learning_rate", "1e-4"], "--learning_rate has no effect"),
        (["--freeze", "encoder"], "--freeze has no effect"),
        (["--augment", "gain"], "--augment has no effect"),
        (["--ema", "0.99"], "--ema has no effect"),
        (["--lora", "4"], "--lora has no effect"),
        (["--sampler", "balanced"], "--sampler has no effect"),
        (["--class_weights", '{"low": 2}'], "takes no --class_weights {"),
        (["--push_to_hub"], "earmark push RUN ORG/NAME"),
    ],
)
def test_what_means_nothing_is_refused(
    flags: list[str], said: str, base: Path, tones: Path, tmp_path: Path, capsys: Any
) -> None:
    assert train(base, tones, tmp_path / "run", *flags) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_settings_of_a_run_repeat_it(gallery: Gallery, tmp_path: Path) -> None:
    settings = gallery["single_label wav2vec2 few_shot"].copy(tmp_path / "run") / "run_config.yaml"
    text = settings.read_text()
    assert "num_train_epochs: null" in text
    settings.write_text(text.replace("num_train_epochs: null", "num_train_epochs: 3.0"))  # as earlier versions wrote it
    assert main(["train", "--config", str(settings), "--output_dir", str(tmp_path / "again"), "--device", "cpu"]) == 0
    first, second = ((tmp_path / name / "metrics.json").read_text() for name in ("run", "again"))
    assert json.loads(first)["validation"] == alike(json.loads(second)["validation"])


def test_a_class_without_clips_is_refused(base: Path, tones: Path, tmp_path: Path, capsys: Any) -> None:
    assert train(base, tones, tmp_path / "run", "--max_train_samples", "1") == 2
    assert "--max_train_samples 1 leaves none of 'high'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_random_weights_are_refused(tones: Path, tmp_path: Path, capsys: Any) -> None:
    words = ["--model_type", "tc_resnet", "--data_dir", str(tones), "--output_dir", str(tmp_path / "run")]
    assert main(["train", *words, "--few_shot"]) == 2
    assert "needs a pretrained or trained model" in capsys.readouterr().err


def test_what_cannot_be_fitted_is_told_before_an_earlier_run_is_replaced(
    gallery: Gallery, tmp_path: Path, capsys: Any
) -> None:
    fitted = gallery["single_label wav2vec2 few_shot"]
    run = fitted.copy(tmp_path / "run")
    summed = ("--config_overrides", "use_weighted_layer_sum=true", "--overwrite_output_dir")
    assert main(fitted.command(run, *summed)) == 2
    assert "learned sum of all layers" in capsys.readouterr().err
    assert earmark.Classifier.from_pretrained(run, device="cpu").labels == ["high", "low"]


def test_heads_of_another_make() -> None:
    summed = build("wav2vec2", use_weighted_layer_sum=True)
    with pytest.raises(ModelError, match="learned sum of all layers"):
        check_head(summed)
    other = build("tc_resnet")
    other.model.classifier = torch.nn.Sequential(torch.nn.Linear(2, 2))
    with pytest.raises(ModelError, match="is not linear"):
        check_head(other)


def test_advice_where_nothing_was_learned() -> None:
    logits = np.array([[1.0, 0.0]] * 6, np.float32)
    metrics = compute_metrics(logits, np.array([0, 1] * 3), ["a", "b"])
    lines = diagnose(metrics, Schedule(0, 0.0, 32, pretrained=True))
    assert "Only the head was fitted" in lines[1]
