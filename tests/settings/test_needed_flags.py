"""Flags that have an effect only with another flag are refused without it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from earmark.cli.command_table import COMMANDS
from earmark.errors import UsageError
from earmark.settings.config_files import resolved_config, save_config
from earmark.settings.flags import Flag, Settings, declared_flags
from earmark.settings.given_values import make_settings, read_line, read_values
from earmark.settings.train_settings import from_keywords, parse_example
from earmark.settings.training_flags import TrainingArguments

CLASSES = dict.fromkeys(cls for command in COMMANDS.values() for cls in command.settings)
NEEDING = [
    (cls, one)
    for cls in CLASSES
    for one in declared_flags(cls).values()
    if one.needs and not {*one.needs} & {*cls.REQUIRED}
]
_VALUES: dict[type, Any] = {bool: True, int: 3, float: 0.25, dict: {"a": 1}}
# a help text that says in words what "needs" declares
_IN_WORDS = re.compile(r"^(with|only with|needs) --|\b(only|has no effect) with(out)? --|\bneeds --", re.IGNORECASE)


def _given(cls: type[Settings], values: dict[str, Any]) -> Any:
    flags = declared_flags(cls)
    required = {name: "out.npy" if name == "output" else "x" for name in cls.REQUIRED}
    required |= {"augment": "gain"} if "augment" in flags else {}
    words = {name: [value] if flags[name].kind.is_list else value for name, value in {**required, **values}.items()}
    return make_settings(cls, read_values(words, flags))


@pytest.mark.parametrize(("cls", "one"), NEEDING, ids=[f"{cls.__name__}-{one.name}" for cls, one in NEEDING])
def test_a_flag_without_the_setting_that_it_needs_is_refused(cls: type[Settings], one: Flag) -> None:
    for need in one.needs:
        name, _, value = need.partition("=")
        assert name in declared_flags(cls)
        assert not value or not declared_flags(cls)[name].choices or value in declared_flags(cls)[name].choices
    off: dict[str, Any] = {"page": False} if one.needs == ("page",) else {}
    value = one.default
    if value is None or value is False:
        value = one.kind.choices[0] if one.kind.choices else _VALUES.get(one.kind.base, "x")
    with pytest.raises(UsageError, match=f"^--{one.name} has no effect without --.*, or leave --{one.name} out\\.$"):
        _given(cls, {**off, one.name: value})


def test_help_that_names_a_needed_flag_is_a_declaration() -> None:
    for cls in CLASSES:
        for one in declared_flags(cls).values():
            assert one.needs or not _IN_WORDS.search(one.help), f"{cls.__name__} --{one.name}: {one.help}"


def test_a_flag_with_the_setting_that_it_needs_is_accepted() -> None:
    with_value = {"lora": 8, "lora_alpha": 3.0, "push_to_hub": True, "hub_model_id": "me/x"}
    assert _given(TrainingArguments, {**with_value, "output_dir": "out"}).lora_alpha == 3.0
    assert _given(TrainingArguments, {"output_dir": "out", "hub_always_push": False}).hub_always_push is False


def test_a_trial_of_a_search_is_refused_too() -> None:
    settings = from_keywords({"output_dir": "out", "model_type": "tc_resnet"})
    with pytest.raises(UsageError, match=r"^--lora_alpha has no effect without --lora"):
        settings.changed(lora_alpha=3.0)


def test_the_file_of_a_run_may_hold_flags_without_effect(tmp_path: Path) -> None:
    flags = declared_flags(TrainingArguments)
    run = _given(TrainingArguments, {"output_dir": "out", "push_to_hub": True, "hub_model_id": "me/x"})
    save_config(resolved_config(run), tmp_path / "run.yaml")
    words = ["--config", str(tmp_path / "run.yaml"), "--push_to_hub", "false"]
    assert make_settings(TrainingArguments, read_line(words, flags)).hub_model_id == "me/x"
    with pytest.raises(UsageError, match=r"^--hub_revision has no effect without --push_to_hub"):
        make_settings(TrainingArguments, read_line([*words, "--hub_revision", "v2"], flags))
    (tmp_path / "own.yaml").write_text("output_dir: out\nhub_model_id: me/x\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"^--hub_model_id has no effect without --push_to_hub"):
        make_settings(TrainingArguments, read_line(["--config", str(tmp_path / "own.yaml")], flags))


def test_the_example_notes_flags_of_transformers_without_effect() -> None:
    words = ["--do_train", "--model_type", "tc_resnet", "--output_dir", "out"]
    settings = parse_example([*words, "--hub_model_id", "me/x"])
    assert "--hub_model_id has no effect without --push_to_hub" in settings.notes
    with pytest.raises(UsageError, match=r"^--lora_alpha has no effect without --lora"):
        parse_example([*words, "--lora_alpha", "3"])
