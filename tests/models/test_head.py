"""Rows of a checkpoint's head go to the classes of the recordings by name."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from earmark.errors import ModelError, UsageError
from earmark.models.build_model import AudioModel, ModelSource, build_for_training, load_trained
from earmark.models.forward import fold_unit
from earmark.models.head import output_layer
from earmark.models.model_source import model_source
from earmark.models.transformers_model import load_classifier
from earmark.settings.model_flags import ModelArguments
from earmark.tasks import REGRESSION, SINGLE_LABEL, Task
from tests.families.tiny_models import KINDS_BY_FAMILY
from tests.tiny import overrides, tone

LABELS = ["yes", "no", "up"]


def checkpoint(
    folder: Path, kind: str = "tc_resnet", labels: list[str] = LABELS, task: Task = SINGLE_LABEL, **more: Any
) -> ModelSource:
    torch.manual_seed(0)
    source = ModelSource(model_type=kind, config_overrides=overrides(kind))
    audio = build_for_training(source, labels, 0.5, 0.5, task, **more)
    with torch.no_grad():
        output_layer(audio.model, audio.family).bias += torch.arange(len(labels))
    audio.save(folder)
    return ModelSource(name_or_path=str(folder))


def scores(audio: AudioModel) -> dict[str, float]:
    """The logits of one clip, by class."""
    audio.model.eval()
    with torch.no_grad():
        logits = audio.model(**audio.frontend([tone(440, 0.5)])).logits[0]
    return dict(zip(audio.labels, logits.tolist(), strict=True))


def build(source: ModelSource, labels: list[str], caplog: pytest.LogCaptureFixture) -> tuple[AudioModel, str]:
    """The model to train and the line about its head."""
    caplog.clear()
    with caplog.at_level(logging.INFO, "earmark"):
        torch.manual_seed(1)
        audio = build_for_training(source, labels, None, 0.5)
    (line,) = [message for message in caplog.messages if message.startswith("head: ")]
    return audio, line


@pytest.mark.parametrize("kind", KINDS_BY_FAMILY)
def test_classes_in_another_order_keep_their_rows(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = checkpoint(tmp_path, kind)
    before = scores(load_trained(source))
    audio, line = build(source, ["up", "yes", "no"], caplog)
    assert scores(audio) == pytest.approx(before, abs=1e-4)
    assert audio.model.config.id2label == {0: "up", 1: "yes", 2: "no"}
    assert "3 rows" in line
    assert "3 of them reordered" in line
    same, line = build(source, LABELS, caplog)
    assert scores(same) == pytest.approx(before, abs=1e-4)
    assert "moved" not in line


def rows(audio: AudioModel) -> dict[str, np.ndarray]:
    layer = output_layer(audio.model, audio.family)
    both = torch.cat([layer.weight, layer.bias[:, None]], dim=1).detach().numpy()
    return dict(zip(audio.labels, both, strict=True))


@pytest.mark.parametrize("kind", ["tc_resnet", "wav2vec2", "audio-spectrogram-transformer", "whisper"])
@pytest.mark.parametrize("labels", [["down", "no", "yes"], ["down", "left", "no", "up", "yes"], ["no", "yes"]])
def test_rows_of_classes_that_stay(
    kind: str, labels: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = checkpoint(tmp_path, kind)
    before = rows(load_trained(source))
    kept, line = build(replace(source, keep_head=True), labels, caplog)
    after = rows(kept)
    common = [label for label in labels if label in before]
    for label in labels:
        assert (label in before and np.array_equal(after[label], before[label])) == (label in common), label
    assert f"head: {len(common)} rows" in line
    assert ("; new: down" in line) == ("down" in labels)
    assert ("; dropped: up" in line) == ("up" not in labels)
    # without the flag no row is taken for one of another class, even where the number of classes is the same
    fresh, line = build(source, labels, caplog)
    for row in rows(fresh).values():
        assert not any(np.array_equal(row, old) for old in before.values())
    assert "--keep_head reuses" in line


def test_names_that_say_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = checkpoint(tmp_path, labels=["LABEL_0", "LABEL_1", "LABEL_2"])
    before = rows(load_trained(source))
    audio, line = build(source, LABELS, caplog)
    assert "has placeholder names for its classes (LABEL_0 to LABEL_2)" in line
    assert not np.array_equal(rows(audio)["yes"], before["LABEL_0"])
    with pytest.raises(ModelError, match=r"has placeholder names for its classes .LABEL_0 to LABEL_2."):
        build_for_training(replace(source, keep_head=True), LABELS, 0.5, 0.5)


def test_nothing_to_keep(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = checkpoint(tmp_path)
    with pytest.raises(ModelError, match="has none of these classes: its classes are yes, no, up"):
        build_for_training(replace(source, keep_head=True), ["cat", "dog"], 0.5, 0.5)
    body = tmp_path / "body"
    checkpoint(body, "wav2vec2")
    model = load_classifier(ModelSource(name_or_path=str(body)), body)
    model.wav2vec2.save_pretrained(body)  # as a pretrained checkpoint has it: no head
    _, line = build(ModelSource(name_or_path=str(body)), LABELS, caplog)
    assert line == "head: new, because the checkpoint has no head"
    with pytest.raises(UsageError, match="--keep_head reuses the head of a checkpoint"):
        ModelArguments(model_type="tc_resnet", keep_head=True)
    assert model_source(ModelArguments(model_name_or_path="here", keep_head=True)).keep_head


def test_a_configuration_of_another_number_of_classes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = checkpoint(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["id2label"], config["label2id"]  # Transformers then takes it for one of two classes
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "has placeholder names for its classes (LABEL_0 to LABEL_2)" in build(source, LABELS, caplog)[1]


@pytest.mark.parametrize("is_folded", [True, False])
def test_a_regression_goes_on_in_its_unit(is_folded: bool, tmp_path: Path) -> None:
    name = ["level_db"]
    source = checkpoint(tmp_path / "first", labels=name, task=REGRESSION, unit=(50.0, 10.0))
    audio = build_for_training(source, name, 0.5, 0.5, REGRESSION, (50.0, 10.0))
    before = scores(audio)
    if is_folded:  # as a finished run is saved; checkpoints of a run are not
        fold_unit(audio.model)
    audio.save(tmp_path / "second")
    again = build_for_training(
        ModelSource(name_or_path=str(tmp_path / "second")), name, 0.5, 0.5, REGRESSION, (-3.0, 2.0)
    )
    assert scores(again) == pytest.approx(before, rel=1e-4)
    assert again.model.forward.unit == (-3.0, 2.0)


def test_rows_of_another_task_are_not_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = checkpoint(tmp_path, labels=["level"])
    with caplog.at_level(logging.INFO, "earmark"):
        build_for_training(source, ["level"], 0.5, 0.5, REGRESSION, (0.0, 1.0))
    assert "was trained on another task (one label a clip)" in caplog.text
