"""What follows from the scope of a flag: comparisons, searches, few-shot runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from earmark.errors import UsageError
from earmark.settings.config_files import save_config
from earmark.settings.flags import Scope, Settings, changed, declared_flags, flag, names_with
from earmark.settings.train_settings import TRAIN_CLASSES, from_keywords, parse_train
from earmark.train.search_space import parse_space


@dataclass
class Shared(Settings, scope=Scope.TRAINED):
    """Flags that affect the same, but for one."""

    first: int = flag(1, "First number.")
    other: int = flag(2, "Other number.", scope=Scope.MACHINE)


@dataclass
class Derived(Shared):
    """Declares a flag beside them, and one of them again."""

    own: int = flag(3, "Own number.")
    first: int = changed(Shared, "first", 4)


def test_a_flag_without_a_scope_has_that_of_the_class_that_declares_it() -> None:
    assert {name: one.scope for name, one in declared_flags(Derived).items()} == {
        "first": Scope.TRAINED,
        "other": Scope.MACHINE,
        "own": Scope.NONE,
    }


def test_settings_of_one_machine_are_not_compared_between_ranks() -> None:
    machine = names_with(Scope.MACHINE, *TRAIN_CLASSES)
    for name in ("preprocessing_num_workers", "output_dir", "data_dir", "dataloader_num_workers", "device", "token"):
        assert name in machine
    for name in ("learning_rate", "max_length_seconds", "bucket_waste", "fsdp", "seed"):
        assert name not in machine


@pytest.mark.parametrize("name", ["fsdp", "ddp_backend", "lora_save", "few_shot", "seed", "data_dir", "report_to"])
def test_settings_that_do_not_make_trials_differ_are_not_searched(name: str) -> None:
    with pytest.raises(UsageError, match="must be the same for all trials"):
        parse_space([f"{name}=a|b"], TRAIN_CLASSES)


@pytest.mark.parametrize(
    "name",
    [
        *("max_length_seconds", "max_grad_norm", "adam_beta1", "adam_epsilon", "data_seed", "bucket_waste", "optim"),
        *("fsdp", "deepspeed"),
    ],
)
def test_settings_that_change_the_result_are_compared_on_resume(name: str) -> None:
    assert name in names_with(Scope.RESULT, *TRAIN_CLASSES)


@pytest.mark.parametrize("words", ["--optim sgd", "--bucket_waste 0.1", "--max_grad_norm 1.0", "--num_train_epochs 3"])
def test_few_shot_refuses_flags_of_epochs_whatever_their_value(words: str) -> None:
    with pytest.raises(UsageError, match=f"--few_shot trains no epochs, so {words.split()[0]} has no effect"):
        parse_train(["--output_dir", "o", "--model_name_or_path", "m", "--few_shot", *words.split()])


def test_few_shot_is_checked_in_each_trial_of_a_search() -> None:
    settings = from_keywords({"output_dir": "o", "model_name_or_path": "m", "few_shot": True})
    for name, value in (("lora", 4), ("class_weights", "a=2"), ("push_to_hub", True), ("model_name_or_path", None)):
        with pytest.raises(UsageError, match="--few_shot "):
            settings.changed(**{name: value})


def test_few_shot_takes_keywords_that_say_nothing() -> None:
    values = {"output_dir": "o", "model_name_or_path": "m", "few_shot": True}
    assert from_keywords({**values, "lora": None, "learning_rate": None}).model.few_shot
    with pytest.raises(UsageError, match="--lora has no effect"):
        from_keywords({**values, "lora": 8})


@pytest.mark.parametrize("optim", ["adamw_torch_fused", "adamw_torch"])
def test_few_shot_reads_the_file_of_a_few_shot_run(optim: str, tmp_path: Path) -> None:
    settings = parse_train(["--output_dir", "o", "--model_name_or_path", "m", "--few_shot"])
    save_config({**settings.to_dict(), "optim": optim}, tmp_path / "run.yaml")  # older files have that of the device
    assert parse_train(["--config", str(tmp_path / "run.yaml")]).model.few_shot
