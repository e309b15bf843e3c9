"""Models without a background class that score recordings window by window say so, and what to do."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import soundfile

from earmark.cli.main import main
from earmark.export.description import read_description
from earmark.export.export_model import describe
from earmark.export.graph import WaveformClassifier
from earmark.models.build_model import ModelSource, load_trained
from earmark.predict.background_warning import lacks_background
from earmark.predict.classifier import Classifier
from earmark.predict.timeline import SegmentRules
from earmark.sources.background import background_classes, find_background
from earmark.tasks import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from earmark.tasks.decision import PLAIN, Decision
from tests.tiny import RATE_HZ, save_model, tone, write_tones

SAID = "this model has no background class, so windows with none of its 3 classes also get one of these labels"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "model", 0.5)


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tape") / "tape.wav"
    soundfile.write(path, tone(500, 2.0), RATE_HZ)
    return path


def predict(model: Path, tape: Path, capsys: Any, *flags: str) -> str:
    assert main(["predict", str(model), str(tape), "--device", "cpu", *flags]) == 0
    return str(capsys.readouterr().err)


def decide(model: Path, folder: Path, **decision: Any) -> Path:
    shutil.copytree(model, folder)
    plain = {"version": 1, "labels": ["high", "low", "mid"], "temperature": 1.0, "reject_label": "unknown"}
    plain |= {"reject_threshold": None, "class_thresholds": {}, "fitted": {}}
    (folder / "decision.json").write_text(json.dumps(plain | decision))
    return folder


def test_windows_of_a_model_without_a_background_class(model: Path, tape: Path, tmp_path: Path, capsys: Any) -> None:
    for flags in (["--window_seconds", "0.5"], ["--rows", "windows"], ["--format", "audacity"]):
        said = predict(model, tape, capsys, *flags)
        assert SAID in said
        assert "earmark calibrate" in said
        assert "--background_dir" in said
    assert SAID not in predict(model, tape, capsys)  # one answer for the recording
    assert SAID in predict(model, tape, capsys, "--window_seconds", "0.5", "--threshold", "0.8")  # which hardly helps
    rejecting = decide(model, tmp_path / "rejecting", reject_threshold=0.9)
    assert SAID not in predict(rejecting, tape, capsys, "--window_seconds", "0.5")
    warm = decide(model, tmp_path / "warm", temperature=2.0)  # which rejects nothing
    assert SAID in predict(warm, tape, capsys, "--window_seconds", "0.5")


def test_which_models_it_is_said_of() -> None:
    assert lacks_background(SINGLE_LABEL, PLAIN, None)
    assert not lacks_background(SINGLE_LABEL, PLAIN, "noise")
    assert not lacks_background(SINGLE_LABEL, Decision(reject_threshold=0.5), None)
    assert not lacks_background(MULTI_LABEL, PLAIN, None)
    assert not lacks_background(REGRESSION, PLAIN, None)
    assert find_background(["dog", "_silence_", "noise"]) == "_silence_"
    assert find_background(["dog", "rauschen", "noise"], "rauschen") == "rauschen"
    assert find_background(["dog", "cat"], "rauschen") is None  # the class of an earlier model


def test_which_classes_are_background() -> None:
    one = SINGLE_LABEL
    assert background_classes(one, ["_silence_", "_unknown_", "yes"], PLAIN, "_silence_") == ["_silence_", "_unknown_"]
    assert background_classes(one, ["dog", "rauschen"], PLAIN, "rauschen") == ["rauschen"]
    assert background_classes(one, ["dog", "rest"], Decision(reject_label="rest"), None) == ["rest"]
    assert background_classes(one, ["noise", "silence"], PLAIN, "noise") == []  # nothing else would be left
    assert background_classes(MULTI_LABEL, ["dog", "noise"], PLAIN, None) == []


def test_segments_of_background_classes_are_left_out_unless_asked_for(
    model: Path, tape: Path, tmp_path: Path, capsys: Any
) -> None:
    config = shutil.copytree(model, tmp_path / "named") / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"background_class": "mid"}))
    words = ["--window_seconds", "0.5", "--threshold", "0.01"]

    def labels(*flags: str) -> tuple[set[str], str]:
        assert main(["predict", str(tmp_path / "named"), str(tape), "--device", "cpu", *words, *flags]) == 0
        out, err = capsys.readouterr()
        return {row.split(",")[3] for row in out.splitlines()[1:]}, err

    found, said = labels()
    assert found == {"high", "low"}
    assert "Segments of the background class 'mid' are omitted. Add --include_background to write them" in said
    found, said = labels("--include_background", "true")
    assert found == {"high", "low", "mid"}
    assert "left out" not in said
    assert labels("--only_labels", "mid")[0] == {"mid"}
    timeline = Classifier.from_pretrained(tmp_path / "named", device="cpu").timeline(tape, window_seconds=0.5)
    assert {one.label for one in timeline.segments(SegmentRules(threshold=0.01))} == {"high", "low"}


def test_a_trained_background_class_is_known_by_any_name(
    model: Path, tape: Path, tmp_path: Path, capsys: Any, caplog: pytest.LogCaptureFixture
) -> None:
    data = write_tones(tmp_path / "tones", per_class=4)
    for i in range(4):
        (tmp_path / "noise").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "noise" / f"{i}.wav", tone(50, 2.0, seed=i) * 0.1, RATE_HZ)
    words = ["train", "--data_dir", str(data), "--model_name_or_path", str(model), "--few_shot", "--device", "cpu"]
    words += ["--background_dir", str(tmp_path / "noise"), "--background_class", "rauschen", "--report", "false"]
    assert main([*words, "--output_dir", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().err
    assert "train: 4 clips of the class 'rauschen' were cut from 3 background recordings" in said
    assert "background class: 'rauschen'. Predicted segments of it are omitted unless --include_background" in said
    assert json.loads((tmp_path / "run" / "labels.json").read_text()) == ["high", "low", "rauschen"]
    assert load_trained(ModelSource(name_or_path=str(tmp_path / "run"))).background_class == "rauschen"
    said = predict(tmp_path / "run", tape, capsys, "--window_seconds", "0.5")
    assert "no background class" not in said
    assert "Segments of the background class 'rauschen' are omitted" in said
    words = ["evaluate", str(tmp_path / "run"), "--data_dir", str(data), "--background_dir", str(tmp_path / "noise")]
    with caplog.at_level(logging.INFO):
        assert main([*words, "--device", "cpu", "--report", "false"]) == 0
    metrics = json.loads((tmp_path / "run" / "evaluation_validation" / "metrics.json").read_text())["validation"]
    assert metrics["num_clips"] == 6  # two of each class; the class and its cuts are those of the run
    assert "were in the training split" not in caplog.text


def test_an_export_knows_the_background_class(model: Path, tmp_path: Path) -> None:
    audio = load_trained(ModelSource(name_or_path=str(model)))
    audio.model.config.background_class = "mid"
    description = describe("pt2", audio, WaveformClassifier(audio), audio.frontend, None)
    description.save(tmp_path)
    (tmp_path / description.model_file).touch()
    assert read_description(tmp_path).background_class == "mid"
