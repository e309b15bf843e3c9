from __future__ import annotations

import dataclasses

import pytest

from earmark.cli import help as pages
from earmark.cli.parsing import build_parser, train_classes
from earmark.config import DataArguments, ModelArguments, RunArguments
from earmark.train.arguments import EarmarkTrainingArguments


@pytest.mark.parametrize("flag", [*pages.TRAINING_FLAGS, *pages.OUTPUT_FLAGS], ids=lambda flag: flag.name)
def test_the_page_shows_the_defaults_the_parser_has(flag: pages.Flag) -> None:
    action = next(a for a in build_parser(*train_classes())._actions if a.dest == flag.name)
    default = action.default[0] if isinstance(action.default, list) else action.default
    if flag.default:
        assert str(getattr(default, "value", default)) == flag.default
    else:
        assert default in (None, False, -1)


def test_the_training_page_has_every_flag_of_this_project() -> None:
    page = pages.train_help()
    for cls in (DataArguments, ModelArguments, RunArguments):
        for field in dataclasses.fields(cls):
            assert f"\n  --{field.name}" in page


def test_help_all_has_every_flag_there_is() -> None:
    page = pages.train_help_all()
    for cls in train_classes():
        for field in dataclasses.fields(cls):
            assert f"--{field.name}" in page
    assert len(dataclasses.fields(EarmarkTrainingArguments)) > 100


def test_an_entry_shows_choices_defaults_and_switches() -> None:
    page = pages.predict_help()
    assert "  --rows clips|windows|segments\n" in page
    assert "  --top_k N\n" in page
    assert "most likely first (default: 1)" in " ".join(page.split())
    assert "  --trust_remote_code\n" in page
    assert "--inputs" not in page
    assert "  --attention_mask true|false\n" in pages.train_help()
    assert page.index("--top_k") < page.index("--cache_dir")


def test_the_page_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    narrow = [line for line in pages.predict_help().splitlines() if line.startswith("      ")]
    assert max(map(len, narrow)) <= 70
