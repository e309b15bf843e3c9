"""A wrong setting is one line that names its flag, on the command line and in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from earmark.cli.main import main
from tests.cli.refusals import QUICK, Refusal, one_line, train
from tests.tiny import overrides

WHISPER = ["--model_type", "whisper", "--config_overrides", overrides("whisper"), "--device", "cpu"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--lerning_rate", "1"], "unknown flag --lerning_rate; did you mean --learning_rate?"),
        (["--learning_rate", "fast"], "--learning_rate fast: expected a number"),
        (["--learning_rate", "-1"], "--learning_rate -1: expected 0 or more"),
        (["--num_train_epochs", "0", "--max_steps", "-1"], "--num_train_epochs 0: expected a number above 0"),
        (["--max_steps", "0"], "--max_steps 0"),
        (["--per_device_train_batch_size", "0"], "--per_device_train_batch_size 0: expected a whole number of"),
        (["--per_device_eval_batch_size", "0"], "--per_device_eval_batch_size 0"),
        (["--gradient_accumulation_steps", "0"], "--gradient_accumulation_steps 0"),
        (["--dataloader_num_workers", "-1"], "--dataloader_num_workers -1"),
        (["--dataloader_drop_last", "--per_device_train_batch_size", "99"], "--dataloader_drop_last"),
        (["--seed", "-1"], "--seed -1"),
        (["--freeze", "last-99"], "--freeze last-99: the model has 2 layers"),
        (["--freeze", "half"], "--freeze half: expected none"),
        (["--device", "npu"], "--device npu: this torch has no NPU support"),
        (["--device", "cuda:9"], "--device cuda:9"),
        (["--device", "gpu"], "--device gpu: not a device"),
        (
            ["--config_overrides", '{"hidden_size": "x"}'],
            "--config_overrides: Validation error for field 'hidden_size'",
        ),
        (["--config_overrides", '{"conv_dim": [8]}'], "cannot be built with these settings"),
        (["--metric_for_best_model", "acuracy"], "Choose one of accuracy, balanced_accuracy, macro_f1"),
        (
            ["--metric_for_best_model", "mae"],
            "--metric_for_best_model mae: not a metric of this task (one label a clip)",
        ),
        (["--metric_for_best_model", "top_5_accuracy"], "not a metric of this task (one label a clip) with 2 classes"),
        (["--metric_for_best_model", "eval_loss", "--greater_is_better", "True"], "loss is better when it is lower"),
        (["--report_to", "abacus"], "--report_to abacus: Transformers has no such tracker"),
        (["--metric", "nowhere"], "--metric nowhere"),
        (["--resume_from_checkpoint", "True"], "no checkpoint in"),
        (["--resume_from_checkpoint", "."], "not a complete checkpoint"),
        (["--max_length_seconds", "0"], "--max_length_seconds 0"),
    ],
)
def test_settings(tones: Path, tmp_path: Path, refusal: Refusal, monkeypatch, words: list[str], said: str) -> None:
    monkeypatch.chdir(tmp_path)
    one_line(refusal(*train("--data_dir", tones, to=tmp_path / "run"), *words), said)
    assert not (tmp_path / "run" / "run_config.yaml").exists()  # found before anything is written


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model_type", "bert"], "--model_type bert: expected one of"),
        (["--model_type", "wav2vec2", "--config_overrides", "hidden_sise=3"], "hidden_sise"),
        ([], "no model"),
    ],
)
def test_models_that_cannot_be_built(tones: Path, tmp_path: Path, refusal: Refusal, words, said: str) -> None:
    one_line(refusal("train", "--data_dir", tones, *words, *QUICK, "--output_dir", tmp_path / "run"), said)


def test_a_length_that_whisper_has_no_positions_for(tones: Path, tmp_path: Path, refusal: Refusal) -> None:
    words = ["--data_dir", tones, *WHISPER, *QUICK, "--output_dir", tmp_path / "run", "--max_length_seconds", "9"]
    one_line(refusal("train", *words), "--max_length_seconds 9", "Use at most 3")


def test_a_length_shorter_than_a_frame_is_padded(tones: Path, tmp_path: Path) -> None:
    words = [*train("--data_dir", tones, to=tmp_path / "run"), "--max_length_seconds", "0.01"]
    assert main([str(word) for word in words]) == 0


def test_an_unknown_command(refusal: Refusal) -> None:
    one_line(refusal("trian"), "unknown command trian", "train")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("c.yaml", None, "cannot read this configuration file"),
        ("c.yaml", "", "holds no settings"),
        ("c.yaml", "- a\n", "found a list"),
        ("c.yaml", "a: [1\n", "not YAML"),
        ("c.yaml", "lerning_rate: 3\n", "unknown flag --lerning_rate; did you mean --learning_rate?"),
        ("c.yaml", "learning_rate: fast\n", "--learning_rate fast: expected a number"),
        ("c.json", "{", "line 1: not JSON"),
        ("c.ini", "", "End its name in .yaml"),
    ],
)
def test_configuration_files(tmp_path: Path, refusal: Refusal, name: str, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    words = ["--model_type", "tc_resnet", "--output_dir", tmp_path / "run"]
    one_line(refusal("train", "--config", tmp_path / name, *words), tmp_path / name, said)
