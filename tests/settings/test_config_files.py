from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from earmark.errors import OutputError, UsageError
from earmark.settings.config_files import read_config_file, save_config
from earmark.settings.data_flags import DataArguments
from earmark.settings.evaluation_flags import EvaluateOptions
from earmark.settings.model_flags import ModelArguments
from earmark.settings.prediction_flags import PredictOptions


def test_importing_the_settings_imports_neither_torch_nor_transformers() -> None:
    modules = "sys, earmark.settings.train_settings, earmark.settings.config_files, earmark.cli.command_table"
    code = f"import {modules}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "numpy"} & set(done.stdout.split())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation_fraction": 1.0}, "--validation_fraction 1: expected from 0 to below 1"),
        ({"max_length_seconds": 0}, "--max_length_seconds 0: expected seconds above 0"),
        ({"max_length_seconds": float("nan")}, "--max_length_seconds nan: expected seconds above 0"),
        ({"max_train_samples": 0}, "--max_train_samples 0: expected a whole number of at least 1"),
        ({"on_bad_audio": "ignore"}, "--on_bad_audio ignore: expected fail or skip"),
        ({"silence_percentage": -1}, "--silence_percentage -1: expected 0 or more"),
    ],
)
def test_data_settings_out_of_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        DataArguments(**settings)  # type: ignore[arg-type]
    assert str(caught.value) == message


@pytest.mark.parametrize("freeze", [None, "none", "feature_encoder", "encoder", "last-1", "last-12"])
def test_freeze_values(freeze: str | None) -> None:
    assert ModelArguments(freeze=freeze).freeze == freeze


@pytest.mark.parametrize("freeze", ["last-0", "last", "True", "", "encoder "])
def test_freeze_refuses_other_values(freeze: str) -> None:
    with pytest.raises(UsageError, match="last-N"):
        ModelArguments(freeze=freeze)


def test_evaluation_needs_a_model() -> None:
    with pytest.raises(UsageError, match="no model"):
        EvaluateOptions(data_dir="recordings")


@pytest.mark.parametrize(
    ("output", "given", "format"),
    [
        (None, None, "csv"),
        (None, "jsonl", "jsonl"),
        ("a.csv", None, "csv"),
        ("a.JSONL", None, "jsonl"),
        ("a.txt", "csv", "csv"),
    ],
)
def test_output_format_follows_the_suffix(output: str | None, given: str | None, format: str) -> None:
    options = PredictOptions("model", inputs=["a.wav"], output=output, format=given)  # type: ignore[arg-type]
    assert options.format == format


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"inputs": []}, "no model or no recordings. Name both"),
        (
            {"output": "labels.txt"},
            r"--output labels.txt: unknown suffix. End it in .csv, .jsonl, .parquet or .rttm, or add",
        ),
        ({"top_k": 0}, "--top_k 0: expected a whole number of at least 1"),
        ({"batch_size": -1}, "--batch_size -1: expected a whole number of at least 1"),
    ],
)
def test_prediction_settings_out_of_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PredictOptions(**{"model_name_or_path": "model", "inputs": ["a.wav"], **settings})  # type: ignore[arg-type]


def write(folder: Path, text: str, name: str = "recipe.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_yaml_scalars_come_back_as_written(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "eval_strategy: no\nlearning_rate: 3e-5\nmodel_revision: 1.10\nfp16: true\nseed: 007\n"
        "max_steps: null\nfreeze: ~\nmetric:\nrun_name: 'null'\nreport_to: [a, 1]\n",
    )
    assert read_config_file(path) == {
        "eval_strategy": "no",
        "learning_rate": "3e-5",
        "model_revision": "1.10",
        "fp16": "true",
        "seed": "007",
        "max_steps": None,
        "freeze": None,
        "metric": None,
        "run_name": "null",
        "report_to": ["a", "1"],
    }


def test_yaml_mappings_are_typed(tmp_path: Path) -> None:
    path = write(tmp_path, "config_overrides: {size: 32, rate: 2e-3, share: 0.5, act: no, on: true, x: null}\n")
    expected = {"size": 32, "rate": 0.002, "share": 0.5, "act": "no", "on": True, "x": None}
    assert read_config_file(path) == {"config_overrides": expected}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "found a list. Write lines of `setting: value`."),
        ("words\n", "found a single value. Write lines of `setting: value`."),
        ("", "the file holds no settings"),
        ("# only a comment\n", "the file holds no settings"),
        (
            "seed: 1\n\tfp16: true\n",
            "line 2: not YAML (found character '\\t' that cannot start any token). Indent",
        ),
        ("seed: 1\nseed: 2\n", "line 2: seed is given twice"),
        ("a: {b: 1, b: 2}\n", "line 1: not YAML (b is given twice)"),
        ("a: [1\n", "line 2: not YAML"),
        ("? [a]\n: 1\n", "line 1: no setting name"),
        ("a: 1\n---\nb: 1\n", "line 2: not YAML"),
        ("a: {b: !!python/object:os.system x}\n", "line 1: not YAML"),
        ("\0", "not YAML (unacceptable character"),
    ],
)
def test_yaml_faults_are_one_line_with_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read_config_file(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "expected an object of settings, {...}, found a list"),
        ('{"seed": 1, "seed": 2}', "seed is given twice"),
        ('{"seed": 1,\n', "line 2: not JSON"),
        ("", "line 1: not JSON"),
    ],
)
def test_json_faults_are_one_line_with_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text, "args.json")
    with pytest.raises(UsageError) as caught:
        read_config_file(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: \xff\n")
    for path, message in [
        (tmp_path / "none.yaml", "No such file"),
        (tmp_path / "notes.txt", "End its name in .yaml, .yml or .json"),
        (latin, "not UTF-8 text"),
    ]:
        with pytest.raises(UsageError, match=message):
            read_config_file(path)


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    path = tmp_path / "windows.json"
    path.write_bytes(b'\xef\xbb\xbf{"seed": 1}')
    assert read_config_file(path) == {"seed": 1}


def test_saved_settings_keep_their_order(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    save_config({"seed": 1, "data_dir": "鸟", "learning_rate": 3e-5}, path)
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["learning_rate"] == 3e-5
    assert list(read_config_file(path)) == ["seed", "data_dir", "learning_rate"]


def test_saving_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"config\.yaml: cannot be written"):
        save_config({}, tmp_path / "missing" / "config.yaml")
