"""Keyword arguments are flags: the same names, the same checks, the same messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from transformers.trainer_utils import IntervalStrategy

import earmark
from earmark.api.read_arguments import model_settings, source_settings
from earmark.api.settings import evaluate_settings, inspect_settings, train_settings
from earmark.cli.main import main
from earmark.errors import DataError, InputTypeError, UsageError
from tests.tiny import save_model

HERE: dict[str, Any] = {"data_dir": ".", "model_type": "tc_resnet", "output_dir": "run", "device": "cpu"}


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("num_train_epoch", 3, "3"),
        ("num_train_epochs", "many", "many"),
        ("learning_rate", -1.0, "-1.0"),
        ("per_device_train_batch_size", 1.5, "1.5"),
        ("per_device_train_batch_size", True, "true"),
        ("freeze", "half", "half"),
        ("store", "int8", "int8"),
        ("task", "rank", "rank"),
        ("augment", ["noise", "echo"], "noise,echo"),
        ("report_to", ["tensorbaord"], "tensorbaord"),
        ("eval_strategy", "sometimes", "sometimes"),
        ("metric_for_best_model", "acuracy", "acuracy"),
        ("seeds", [1, 1], "1,1"),
        ("train_file", "nowhere.csv", "nowhere.csv"),
        ("device", "gpu", "gpu"),
    ],
)
def test_a_wrong_keyword_gives_the_message_of_the_command_line(
    name: str,
    value: object,
    word: str,
    tmp_path: Path,
    recordings: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {**HERE, "data_dir": str(recordings), name: value}
    with pytest.raises(earmark.EarmarkError) as caught:
        earmark.train(**settings)
    words = [f"--{flag}={setting}" for flag, setting in {**settings, name: word}.items()]
    assert main(["train", *words]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"earmark: error: {caught.value}"


def test_the_nearest_name_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean --learning_rate"):
        earmark.train(tmp_path, model="tc_resnet", output_dir=tmp_path / "run", learning_rat=1e-3)
    with pytest.raises(UsageError, match="did you mean group_column"):
        earmark.load_clips(tmp_path, group_colum="speaker")
    with pytest.raises(UsageError, match="did you mean --near_duplicates"):
        earmark.inspect(tmp_path, near_duplicate=False)
    with pytest.raises(UsageError, match="did you mean --per_device_eval_batch_size"):
        earmark.evaluate(tmp_path, tmp_path, per_device_eval_batchsize=3)


def test_values_of_all_kinds_reach_the_settings(tmp_path: Path) -> None:
    settings = train_settings(
        {
            **HERE,
            "data_dir": [tmp_path, str(tmp_path.parent)],
            "output_dir": tmp_path / "with spaces and = signs",
            "config_overrides": {"channels": [8, 8]},
            "num_train_epochs": np.float64(2.5),
            "per_device_train_batch_size": np.int64(3),
            "eval_strategy": IntervalStrategy.NO,
            "save_total_limit": None,
            "max_length_seconds": None,
            "report_to": ["none"],
            "seeds": (1, 2),
            "augment": ["gain", "shift"],
            "augment_gain_db": (-3, 3),
            "load_best_model_at_end": False,
            "lr_scheduler_kwargs": {"num_cycles": 2},
        }
    )
    assert settings.data.data_dir == [str(tmp_path), str(tmp_path.parent)]
    assert settings.training.output_dir == str(tmp_path / "with spaces and = signs")
    assert settings.model.config_overrides == '{"channels": [8, 8]}'
    assert settings.training.num_train_epochs == 2.5
    assert settings.training.per_device_train_batch_size == 3
    assert settings.training.eval_strategy == "no"
    assert settings.training.save_total_limit is None
    assert settings.data.max_length_seconds is None
    assert settings.run.seed_list() == [1, 2]
    assert settings.training.augment_gain_db == "-3,3"
    assert settings.training.load_best_model_at_end is False
    assert settings.training.lr_scheduler_kwargs == {"num_cycles": 2}
    assert settings.training.do_train is True


def test_values_that_no_setting_takes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--learning_rate <object object at .*>: expected a number"):
        train_settings({**HERE, "learning_rate": object()})
    with pytest.raises(UsageError, match=r"^--seed null: expected a value$"):
        train_settings({**HERE, "data_dir": str(tmp_path), "seed": None})
    with pytest.raises(UsageError, match=r"no output folder\. Add --output_dir"):
        train_settings({**HERE, "output_dir": None})


def test_old_names_work_as_on_the_command_line(tmp_path: Path) -> None:
    settings = train_settings({**HERE, "data_dir": tmp_path, "evaluation_strategy": "steps", "eval_steps": 5})
    assert settings.training.eval_strategy == "steps"
    assert any("evaluation_strategy" in note for note in settings.notes)


def test_the_other_functions_have_the_flags_of_their_commands(tmp_path: Path) -> None:
    save_model(tmp_path / "model", 0.2)
    evaluation = evaluate_settings({"model_name_or_path": tmp_path / "model", "data_dir": tmp_path, "report": False})
    assert (evaluation.report, evaluation.data_dir) == (False, str(tmp_path))
    assert inspect_settings({"data_dir": tmp_path, "near_duplicates": False}).near_duplicates is False


# ---------------------------------------------------------------- data and model


def test_data_is_folders_and_manifests(tmp_path: Path) -> None:
    manifest = tmp_path / "a.csv"
    manifest.touch()
    assert source_settings(tmp_path, {}) == {"data_dir": [str(tmp_path)]}
    assert source_settings(str(manifest), {}) == {"train_file": [str(manifest)]}
    both = {"data_dir": [str(tmp_path)], "train_file": [str(manifest)]}
    assert source_settings([tmp_path, manifest], {"eval_file": None}) == both
    assert source_settings(None, {"data_dir": "x"}) == {}
    assert source_settings(manifest, {"eval_file": "b.csv"}) == {"train_file": [str(manifest)]}
    assert source_settings(tmp_path, {"dataset_name": "superb"}) == {"data_dir": [str(tmp_path)]}
    with pytest.raises(UsageError, match="data and data_dir both name recordings"):
        source_settings(tmp_path, {"data_dir": "b"})
    with pytest.raises(UsageError, match="data and train_file both name recordings"):
        source_settings(manifest, {"train_file": "b.csv"})
    with pytest.raises(DataError, match=r"no such folder or file\. For a data set on the hub, pass dataset_name"):
        source_settings("superb", {})
    with pytest.raises(InputTypeError, match="found int"):
        source_settings(3, {})
    with pytest.raises(InputTypeError, match=r"DataFrame is not read directly\. Write it with to_csv"):
        source_settings(pandas.DataFrame({"path": ["a.wav"]}), {})


def test_model_is_a_folder_a_hub_name_or_a_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "whisper").mkdir()
    assert model_settings("whisper", {}) == {"model_type": "whisper"}  # a folder without a model
    (tmp_path / "whisper" / "config.json").touch()
    assert model_settings("whisper", {}) == {"model_name_or_path": "whisper"}
    assert model_settings("tc_resnet", {}) == {"model_type": "tc_resnet"}
    assert model_settings("openai/whisper-tiny", {}) == {"model_name_or_path": "openai/whisper-tiny"}
    assert model_settings(tmp_path, {}) == {"model_name_or_path": str(tmp_path)}
    assert model_settings(Path("tc_resnet"), {}) == {"model_name_or_path": "tc_resnet"}
    assert model_settings(earmark.Run(tmp_path), {}) == {"model_name_or_path": str(tmp_path)}
    assert model_settings(None, {"model_type": "wav2vec2"}) == {}
    with pytest.raises(UsageError, match=r"model wav2vec3: neither a folder nor a model type; did you mean wav2vec2\?"):
        model_settings("wav2vec3", {})
    with pytest.raises(UsageError, match="model and model_type both name a model"):
        model_settings("tc_resnet", {"model_type": "tc_resnet"})
    with pytest.raises(InputTypeError, match="found int"):
        model_settings(3, {})
