"""The command lines and files of evaluate and predict."""

from __future__ import annotations

from pathlib import Path

import pytest

from earmark.cli.command_table import COMMANDS
from earmark.errors import UsageError
from earmark.settings.prediction_flags import PredictOptions
from tests.settings.command_words import parse_evaluate, write


def parse_predict(words: list[str]) -> PredictOptions:
    options: PredictOptions = COMMANDS["predict"].read(words)[0]
    return options


def test_evaluate_takes_the_model_as_a_word_or_a_flag() -> None:
    by_word, notes = parse_evaluate(["m", "--data_dir", "d", "--split", "test"])
    by_flag, _ = parse_evaluate(["--data_dir", "d", "--model_name_or_path", "m", "--split", "test"])
    assert by_word == by_flag
    assert notes == []
    assert (by_word.model_name_or_path, by_word.data_dir, by_word.split) == ("m", "d", "test")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "no model."),
        ("m n", "unexpected word 'n'"),
        ("m --model-name-or-path n", "m and --model_name_or_path n contradict each other"),
        ("m --split train", "--split train: expected validation, test or unseen"),
        ("m --learning_rate 1", "unknown flag --learning_rate"),
    ],
)
def test_mistakes_in_evaluate(words: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_evaluate(words.split())
    assert message in str(caught.value)


def test_evaluate_with_the_file_a_run_was_trained_with(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "model_name_or_path: base\noutput_dir: out\ndata_dir: d\nlabel_column_name: word\n"
        "learning_rate: 3e-5\nevaluation_strategy: epoch\nper_device_eval_batch_size: 8\n",
    )
    options, notes = parse_evaluate(["runs/a", "--config", path, "--per_device_eval_batch_size", "4"])
    assert (options.model_name_or_path, options.output_dir) == ("runs/a", None)
    assert (options.data_dir, options.label_column_name) == ("d", "word")
    assert options.per_device_eval_batch_size == 4
    assert notes == [f"{path}: a training configuration; this command ignores 4 settings"]
    with pytest.raises(UsageError, match="no model"):
        parse_evaluate(["--config", path])


def test_a_file_made_for_evaluate_may_name_the_model(tmp_path: Path) -> None:
    path = write(tmp_path, "model_name_or_path: m\noutput_dir: o\ndata_dir: d\n")
    options, notes = parse_evaluate(["--config", path])
    assert (options.model_name_or_path, options.output_dir, notes) == ("m", "o", [])
    assert parse_evaluate(["n", "--config", path])[0].model_name_or_path == "n"
    with pytest.raises(UsageError, match="unknown flag --splt; did you mean --split"):
        parse_evaluate(["m", "--config", write(tmp_path, "splt: test\n")])


def test_predict_finds_its_words_among_the_flags() -> None:
    options = parse_predict(["m", "a.wav", "--top_k", "3", "b", "--output", "o.jsonl", "--", "--odd.wav"])
    assert options.model_name_or_path == "m"
    assert options.inputs == ["a.wav", "b", "--odd.wav"]
    assert (options.top_k, options.output, options.format) == (3, "o.jsonl", "jsonl")
    assert options.on_bad_audio == "skip"
    assert parse_predict(["--model_name_or_path", "m", "a.wav"]).inputs == ["a.wav"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "no model or no recordings. Name both"),
        ("m", "no model or no recordings. Name both"),
        ("m a.wav --topk 3", "unknown flag --topk; did you mean --top_k?"),
        ("m a.wav --output_dir o", "unknown flag --output_dir; did you mean --output?"),
        ("m a.wav --learning_rate 1", "unknown flag --learning_rate: a flag of earmark train, not of this command"),
        ("m a.wav --format xml", "--format xml: expected audacity, csv, jsonl"),
        ("m a.wav --output o.txt", "--output o.txt: unknown suffix. End it in .csv, .jsonl"),
    ],
)
def test_mistakes_in_predict(words: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_predict(words.split())
    assert message in str(caught.value)


def test_predict_with_a_file(tmp_path: Path) -> None:
    path = write(tmp_path, "inputs: [a.wav, b.wav]\nmodel_name_or_path: m\ntop_k: 2\n")
    options = parse_predict(["--config", path, "c.wav"])
    assert (options.inputs, options.top_k) == (["a.wav", "b.wav", "c.wav"], 2)
