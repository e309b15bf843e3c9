"""Flags of paths that may be given several times, on command lines and in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from earmark.cli.command_table import COMMANDS
from earmark.errors import DataError, UsageError
from earmark.settings.config_files import read_config_file, resolved_config, save_config
from earmark.settings.data_flags import DataArguments, paths_in
from earmark.settings.train_settings import check_sources, parse_train
from earmark.train.report import dataset_name
from tests.settings.command_words import parse_evaluate, write

MINIMAL = ["--output_dir", "out", "--model_type", "tc_resnet"]


def parse_inspect(words: list[str]) -> Any:
    return COMMANDS["inspect"].read(words)[0]


def test_one_path_stays_text_and_several_are_a_list() -> None:
    words = ["--data_dir", "a", "--train_file=b.csv", "--train-file", "c.csv", "--train_file", "b.csv"]
    data = parse_train([*MINIMAL, *words]).data
    assert data.data_dir == "a"
    assert data.train_file == ["b.csv", "c.csv"]
    assert data.eval_file is None
    assert paths_in(data.data_dir) == ["a"]
    assert paths_in(None) == []
    assert DataArguments(data_dir=["x"], train_file=[]) == DataArguments(data_dir="x")


def test_the_settings_of_a_run_read_back_to_the_same(tmp_path: Path) -> None:
    words = ["--data_dir", "a", "--data_dir", "b", "--train_file", "labels.csv"]
    settings = parse_train([*MINIMAL, *words])
    save_config(resolved_config(settings.data, settings.model, settings.run, settings.training), tmp_path / "run.yaml")
    again = parse_train(["--config", str(tmp_path / "run.yaml")])
    assert again.data == settings.data
    assert read_config_file(tmp_path / "run.yaml")["train_file"] == "labels.csv"  # as files of earlier runs have it


def test_a_flag_replaces_what_a_file_says_of_it(tmp_path: Path) -> None:
    file = write(tmp_path, "data_dir: [a, b]\ntrain_file: c.csv\noutput_dir: out\nmodel_type: tc_resnet\n")
    data = parse_train(["--config", file, "--data_dir", "x"]).data
    assert (data.data_dir, data.train_file) == ("x", "c.csv")
    data = parse_train(["--config", file, "--train-file=x.csv", "--train_file", "y.csv"]).data
    assert (data.data_dir, data.train_file) == (["a", "b"], ["x.csv", "y.csv"])
    options, _ = parse_evaluate(["run", "--config", file, "--eval_file", "e.csv"])
    assert (options.data_dir, options.train_file, options.eval_file) == (["a", "b"], "c.csv", "e.csv")
    assert parse_evaluate(["--data_dir", "x", "run"])[0].model_name_or_path == "run"
    empty = write(tmp_path, "data_dir: []\ntrain_file: c.csv\noutput_dir: out\nmodel_type: tc_resnet\n")
    assert parse_train(["--config", empty]).data.data_dir is None


def test_inspect_takes_folders_as_words() -> None:
    assert parse_inspect(["a", "b"]).data_dir == ["a", "b"]
    assert parse_inspect(["a", "--train_file", "b.csv"]).train_file == "b.csv"
    with pytest.raises(UsageError, match="a and --data_dir b contradict each other"):
        parse_inspect(["--data_dir", "b", "a"])


def test_two_values_after_one_flag() -> None:
    with pytest.raises(UsageError, match=r"unexpected word 'b\.csv'.*Repeat a flag"):
        parse_train([*MINIMAL, "--train_file", "a.csv", "b.csv"])


def test_each_path_is_looked_for_before_anything_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "", "a.csv")
    given = [*MINIMAL, "--train_file", "a.csv"]
    check_sources(parse_train(given).data)
    for words in (["--train_file", "gone.csv"], ["--train-file=gone.csv"]):
        with pytest.raises(DataError, match=r"gone\.csv: no such file"):
            check_sources(parse_train([*words, *given]).data)
    file = write(tmp_path, "data_dir: [., gone]")
    with pytest.raises(DataError, match="gone: no such folder"):
        check_sources(parse_train([*given, "--config", file]).data)
    check_sources(parse_train([*given, "--data_dir", ".", "--config", file]).data)  # the flag replaces it
    monkeypatch.setenv("WORLD_SIZE", "2")  # another machine may have it
    monkeypatch.setenv("LOCAL_RANK", "0")
    check_sources(parse_train([*given, "--config", file]).data)


def test_a_model_card_names_all_sources() -> None:
    assert dataset_name(DataArguments(data_dir="x/birds", train_file="labels/labels.csv")) == "birds, labels.csv"
    assert dataset_name(DataArguments(eval_file="held.csv")) == "held.csv"
    superb = DataArguments(dataset_name="superb", dataset_config_name="ks", data_dir="archive")
    assert dataset_name(superb) == "superb ks"
