"""Fitting at the end of a run: clips in windows, probes, what is written, and what the saved model then answers."""

from __future__ import annotations

import csv
import json
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch

import earmark
from earmark.cli.main import main
from earmark.models.build_model import ModelSource, build_for_training
from earmark.scoring.decide import Fitted
from earmark.store.usable import UsableClips
from earmark.tasks import softmax
from earmark.tasks.decision import Decision
from earmark.train.judge_splits import judge_splits
from earmark.train.prepared_data import PreparedData
from tests.tiny import ARCHITECTURES, overrides
from tests.train.small import build, make_trainer, mixed_lengths_s, usable, write_clips


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "predictions_validation.csv").read_text().splitlines()))


def prepared(clips: dict[str, UsableClips]) -> PreparedData:
    return PreparedData(clips["train"], clips["validation"], clips["train"], ["high", "low"], 1.0)


def test_windows_of_clips_give_what_the_loop_gives(tmp_path: Path) -> None:
    clips = usable(write_clips(tmp_path / "clips", mixed_lengths_s(9, longest_s=1.0)))
    trainer = make_trainer(build(length_s=0.3), clips, tmp_path / "out")
    windows = trainer.scorer.score_windows(clips["train"], "train")
    assert len(windows.logits) > windows.num_clips == 9
    np.testing.assert_allclose(
        softmax(windows.clips_logits()), softmax(trainer.scorer.score(clips["train"])), atol=1e-6
    )


def test_a_run_of_long_clips_answers_after_saving_as_it_was_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # random weights know nothing of four clips; here it matters what becomes of a temperature, not which it is
    monkeypatch.setattr("earmark.scoring.decide._why_unused", lambda *_: "")
    clips = usable(write_clips(tmp_path / "clips", mixed_lengths_s(12, longest_s=1.0)))
    audio = build(length_s=0.3)
    trainer = make_trainer(audio, clips, tmp_path / "out", calibrate=True, reject_target_precision=0.6)
    judged = judge_splits(trainer.scorer, prepared(clips))
    assert audio.decision.temperature != 1.0
    assert audio.decision.fitted["clips"] == 4
    audio.save(tmp_path / "saved")
    (tmp_path / "saved" / "decision.json").write_text(json.dumps(audio.decision.to_dict(audio.labels)))
    classifier = earmark.Classifier.from_pretrained(tmp_path / "saved", device="cpu")
    paths = [clip.path for clip in clips["train"].table]
    np.testing.assert_allclose(classifier.predict_proba(paths), softmax(judged["test"].logits), atol=1e-5)
    assert judged["test"].decided["judged"] == "fitted on the validation clips"
    assert judged["validation"].decided["judged"].startswith("cross-fitted")


def test_a_probe_is_calibrated_on_its_embeddings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earmark.train.judge_splits.fit_decision", lambda *_, **__: Fitted(Decision(1.5), {}))
    clips = usable(write_clips(tmp_path / "clips", [0.3] * 16))
    trainer = make_trainer(build("sew", "encoder"), clips, tmp_path / "out", calibrate=True)
    with ExitStack() as stack:
        trainer.keep_frozen(stack, tmp_path / "frozen", small_only=False)
        assert trainer.scorer.probes
        judged = judge_splits(trainer.scorer, prepared(clips))
    np.testing.assert_allclose(
        judged["validation"].logits, trainer.scorer.score(clips["validation"]) / np.float32(1.5), rtol=1e-6
    )


TINY = ["--model_type", "wav2vec2", "--config_overrides", overrides("wav2vec2"), "--device", "cpu"]
QUICK = ["--max_steps", "1", "--per_device_train_batch_size", "4", "--eval_strategy", "no", "--save_strategy", "no"]
FIXED = [*QUICK, "--learning_rate", "0", "--device", "cpu"]  # the model stays as it is
_LOGIT = 0.3  # of the right class, and minus that of the other one: a probability of 0.65


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("tones"), [0.2] * 6, validation_s=[0.2] * 8)


@pytest.fixture(scope="module")
def modest(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is right about every clip of ``tones`` and gives the right class a probability of about 0.65.

    Its body has random weights. Its head is solved for: the eight different clips have 16 features each.
    """
    torch.manual_seed(0)
    wide = json.dumps({**ARCHITECTURES["wav2vec2"], "classifier_proj_size": 16})
    source = ModelSource(model_type="wav2vec2", config_overrides=wide)
    audio = build_for_training(source, ["high", "low"], 0.2, longest_s=0.2)
    audio.model.eval()
    clips = [clip for split in usable(tones).values() for clip in _clips(split)]
    signs = torch.tensor([1.0 if label == "high" else -1.0 for label, _ in clips], dtype=torch.float64)
    inputs = audio.frontend([wave for _, wave in clips])
    with torch.no_grad():
        features = audio.model.projector(audio.model(**inputs, stop_at="embeddings")).double()
        row = torch.linalg.pinv(features) @ (signs * _LOGIT)
        audio.model.classifier.weight.copy_(torch.stack([row, -row]))
        audio.model.classifier.bias.zero_()
        logits = audio.model(**inputs).logits[:, 0]
    torch.testing.assert_close(logits.double(), signs * _LOGIT, atol=_LOGIT / 10, rtol=0)
    folder = tmp_path_factory.mktemp("modest")
    audio.save(folder)
    return folder


def _clips(split: UsableClips) -> list[tuple[str, np.ndarray]]:
    return [(str(clip.label), split.waveforms.read(row)) for row, clip in enumerate(split.table)]


def test_a_run_writes_what_it_fitted_and_a_later_one_takes_it_away(
    tones: Path, modest: Path, tmp_path: Path, capsys
) -> None:
    words = ["train", "--data_dir", str(tones), "--model_name_or_path", str(modest), *FIXED]
    words += ["--output_dir", str(tmp_path / "run")]
    fitted = ["--calibrate", "--reject_target_precision", "0.5", "--reject_class", "something else"]
    assert main([*words, *fitted]) == 0
    decision = json.loads((tmp_path / "run" / "decision.json").read_text())
    assert decision["temperature"] < 1.0  # a model that is right about every clip can be surer
    assert decision["reject_label"] == "something else"
    assert decision["fitted"]["clips"] == 8
    figures = json.loads((tmp_path / "run" / "metrics.json").read_text())["validation"]["decision"]
    assert figures["temperature"] == decision["temperature"]
    assert {"calibration_error", "calibration_error_before", "coverage", "precision"} <= figures.keys()
    card = (tmp_path / "run" / "README.md").read_text()
    out = capsys.readouterr().out
    divided = f"logits are divided by the temperature {decision['temperature']:.4g}"
    for line in (divided, "all classes together reach the target without a threshold"):
        assert f"- {line}" in card
        assert f"decision: {line}" in out
    assert "`something else`" in card
    settings = tmp_path / "run" / "run_config.yaml"
    assert "reject_target_precision: 0.5" in settings.read_text()
    # evaluation reads the settings of training, and answers as the run was judged
    assert main(["evaluate", str(tmp_path / "run"), "--config", str(settings)]) == 0
    of_training = rows_of(tmp_path / "run")
    again = rows_of(tmp_path / "run" / "evaluation_validation")
    assert [row["answer"] for row in again] == [row["answer"] for row in of_training]
    for one, other in zip(again, of_training, strict=True):
        assert float(one["score"]) == pytest.approx(float(other["score"]), abs=1e-5)
    assert main([*words, "--overwrite_output_dir"]) == 0
    assert not (tmp_path / "run" / "decision.json").exists()


def test_a_target_out_of_reach_is_said_at_the_end_and_in_the_card(modest: Path, tmp_path: Path, capsys) -> None:
    data = write_clips(tmp_path / "tones", [0.2] * 6, validation_s=[0.2] * 8)
    low, high = data / "validation" / "low", data / "validation" / "high"  # labels turned round: nothing is right
    for one, other in ((low, data / "aside"), (high, low), (data / "aside", high)):
        one.rename(other)
    words = ["train", "--data_dir", str(data), "--model_name_or_path", str(modest), *FIXED]
    words += ["--output_dir", str(tmp_path / "run"), "--target_precision", "0.95"]
    assert main(words) == 0
    said = "no class reaches --target_precision 0.95: every prediction is 'unknown'"
    assert f"decision: {said}" in capsys.readouterr().out
    card = (tmp_path / "run" / "README.md").read_text()
    assert "- thresholds: high never, low never, else 'unknown'" in card
    assert f"- {said}" in card
    assert json.loads((tmp_path / "run" / "decision.json").read_text())["class_thresholds"] == {
        "high": None,
        "low": None,
    }


def test_going_on_takes_away_what_was_fitted_for_earlier_weights(tones: Path, tmp_path: Path) -> None:
    words = ["train", "--data_dir", str(tones), *TINY, *QUICK, "--output_dir", str(tmp_path / "run")]
    assert main([*words, "--calibrate"]) == 0
    assert main([*words, "--resume"]) == 0
    assert not (tmp_path / "run" / "decision.json").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--target_precision", "0"], "--target_precision 0: expected above 0 and at most 1"),
        (["--target_precision", "1.01"], "expected above 0 and at most 1"),
        (["--target_precision", "nan"], "expected above 0 and at most 1"),
        (["--reject_target_precision", "-0.5"], "expected above 0 and at most 1"),
        (["--reject_class", "noise"], "needs a threshold"),
        (["--reject_false_accept_rate", "0.1"], "Add --reject_class NAME"),
        (["--reject_false_accept_rate", "1", "--reject_class", "low"], "from 0 to below 1"),
        (["--reject_false_accept_rate", "0.1", "--reject_class", "hum"], "'hum' is not a class of the model"),
    ],
)
def test_targets_that_cannot_be(
    words: list[str], says: str, tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--data_dir", str(tones), *TINY, *QUICK, *words, "--output_dir", str(tmp_path / "run")]
    assert main(["train", *given]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("earmark: error: ")
    assert says in last
