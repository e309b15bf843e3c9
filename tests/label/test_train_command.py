"""The training command that the page shows loads the clips of the model's run as that run loaded them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from earmark.errors import UsageError
from earmark.label.training_words import label_separator, train_command
from earmark.settings.config_files import resolved_config, save_config
from earmark.settings.data_flags import DataArguments
from earmark.settings.labelling_flags import LabelOptions
from earmark.settings.train_settings import parse_train
from earmark.tasks import MULTI_LABEL, SINGLE_LABEL, Task


def command_of(tmp_path: Path, settings: dict[str, Any], task: Task = SINGLE_LABEL, **options: Any) -> tuple[str, str]:
    run = tmp_path / "run"
    run.mkdir(exist_ok=True)
    save_config({"model_type": "tc_resnet", **settings}, run / "run_config.yaml")
    labels = tmp_path / "labels" / "labels.csv"
    given = LabelOptions(inputs=["new"], model_name_or_path=str(run), **options)
    return train_command(given, labels, task, label_separator(given))


SETTINGS = {
    "data_dir": ["a b", "c"],
    "train_split_name": "fit",
    "eval_split_name": "dev",
    "test_split_name": "exam",
    "background_dir": "noise",
    "background_gaps": True,
    "background_class": "nothing",
    "background_ratio": 0.5,
    "background_margin_seconds": 2.0,
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_command_loads_the_clips_as_the_run_did(tmp_path: Path, name: str) -> None:
    defaults = resolved_config(DataArguments())
    command, note = command_of(tmp_path, {**defaults, **SETTINGS, "learning_rate": 0.1})
    data = parse_train(shlex.split(command)[2:]).data
    assert getattr(data, name) == SETTINGS[name] or getattr(data, name) == [SETTINGS[name]]
    assert data.train_file in (str(tmp_path / "labels" / "labels.csv"), [str(tmp_path / "labels" / "labels.csv")])
    assert note == ""
    assert "learning_rate" not in command


def test_defaults_are_left_out(tmp_path: Path) -> None:
    labels = tmp_path / "labels" / "labels.csv"
    settings = {**resolved_config(DataArguments()), "data_dir": "recordings", "train_file": [str(labels), "b.csv"]}
    words = ["earmark", "train", "--data_dir", "recordings", "--train_file", "b.csv", "--train_file", str(labels)]
    model = ["--model_type", "tc_resnet", "--output_dir", str(tmp_path / "run-2")]
    assert shlex.split(command_of(tmp_path, settings)[0]) == [*words, *model]
    checked = ["earmark", "train", "--train_file", str(labels), *model]
    assert shlex.split(command_of(tmp_path, settings, check=True)[0]) == checked


def test_the_command_is_complete(tmp_path: Path) -> None:
    """It trains the same model in a folder that does not exist, and nothing has to be added to it."""
    base = str(tmp_path / "encoder")
    settings = {"model_type": None, "model_name_or_path": base, "few_shot": True, "max_length_seconds": 2.0}
    (tmp_path / "run-2").mkdir()
    command, _ = command_of(tmp_path, {**resolved_config(DataArguments()), **settings, "token": "secret"})
    parsed = parse_train(shlex.split(command)[2:])
    assert (parsed.model.model_name_or_path, parsed.model.few_shot) == (base, True)
    assert parsed.data.max_length_seconds == 2.0
    assert parsed.training.output_dir == str(tmp_path / "run-3")
    assert "secret" not in command


def test_without_a_run_the_command_trains_the_labelling_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = LabelOptions(inputs=["new"], model_name_or_path="org/encoder")
    command, _ = train_command(options, Path("labels/labels.csv"), SINGLE_LABEL, ",")
    assert command.endswith("--model_name_or_path org/encoder --output_dir runs/encoder-2")
    assert parse_train(shlex.split(command)[2:]).model.model_name_or_path == "org/encoder"


def test_columns_with_other_names_are_said(tmp_path: Path) -> None:
    names = {"audio_column_name": "wav", "label_column_name": "bird", "group_column": "site", "dataset_revision": "v2"}
    command, note = command_of(tmp_path, {"dataset_name": "birds", **names})
    for name, value in names.items():
        assert f"--{name} {value}" in command
    assert note == (
        "First change labels.csv to match the columns of the earlier clips: rename the column path to wav, rename the "
        "column label to bird, add a column site."
    )


@pytest.mark.parametrize("check", [False, True])
def test_several_labels_are_read_as_they_are_written(tmp_path: Path, check: bool) -> None:
    settings = {**resolved_config(DataArguments()), "task": "multi_label", "label_separator": ";", "data_dir": "clips"}
    command, _ = command_of(tmp_path, settings, MULTI_LABEL, check=check)
    data = parse_train(shlex.split(command)[2:]).data
    assert (data.task, data.label_separator, data.data_dir) == ("multi_label", ";", None if check else "clips")
    if check:  # labels.csv has all clips
        command, _ = command_of(tmp_path, settings, MULTI_LABEL, check=check, label_separator="|")
        assert parse_train(shlex.split(command)[2:]).data.label_separator == "|"
    else:  # the clips of the run are read by the same command
        with pytest.raises(UsageError, match=r"^--label_separator \|: .* Remove the flag"):
            command_of(tmp_path, settings, MULTI_LABEL, check=check, label_separator="|")
