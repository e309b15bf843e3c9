"""``earmark prepare`` on the command line: what it prints is a command that trains."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from earmark.cli.main import main
from earmark.settings.train_settings import parse_train
from earmark.sources.corpora.prepare_corpus import CORPORA
from tests.sources.corpora.trees import TREES


@pytest.mark.parametrize("name", list(TREES))
def test_the_printed_command_parses(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = TREES[name](tmp_path / "tree")
    assert main(["prepare", name, str(tree), "--output", str(tmp_path / "out")]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("train: earmark train "))
    data = parse_train(shlex.split(line)[3:]).data
    assert Path(str(data.train_file)).is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["esc51", "x", "--output", "y"], "esc51: unknown data set"),
        (["esc50", "x"], "earmark prepare NAME FOLDER_OR_ARCHIVE --output DIR"),
        (["esc50", "--output", "y"], "earmark prepare NAME"),
        (["esc50", "x", "--output", "y", "--on_missing", "maybe"], "--on_missing maybe: expected fail or skip"),
        (["esc50", "nowhere", "--output", "y"], "nowhere: no such file or folder"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("earmark: error: ")
    assert said in line


def test_help_names_every_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "--help"]) == 0
    page = capsys.readouterr().out
    assert all(name in page and corpus.published.archive in page for name, corpus in CORPORA.items())
    assert max(map(len, page.splitlines())) <= 100
