from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from earmark.errors import UsageError
from earmark.settings.flags import declared_flags
from earmark.settings.given_values import read_words, training_flags
from earmark.settings.legacy import LEGACY_FLAGS
from earmark.settings.train_settings import TRAIN_CLASSES


def read(text: str) -> tuple[dict[str, Any], list[str]]:
    """The values of a command line of training, and its notes."""
    given = read_words(text.split(), training_flags(), has_words=False)
    return given.values, given.notes


@pytest.mark.parametrize(
    ("old", "new", "note"),
    [
        ("--evaluation_strategy epoch", {"eval_strategy": "epoch"}, "is read as --eval_strategy"),
        ("--evaluation-strategy=epoch", {"eval_strategy": "epoch"}, "is read as --eval_strategy"),
        ("--warmup_ratio 0.1", {"warmup_steps": 0.1}, "is read as --warmup_steps 0.1"),
        ("--warmup_ratio=0", {"warmup_steps": 0.0}, "is read as --warmup_steps 0"),
        ("--fp16_opt_level O1", {}, "--fp16_opt_level O1 is not used"),
        ("--half_precision_backend apex", {}, "without apex"),
        ("--fp16_backend auto", {}, "without apex"),
        ("--loss_scale 16", {}, "--loss_scale 16 is not used: torch's GradScaler"),
        ("--group_by_length", {}, "--bucket_waste makes batches of clips of similar length"),
        ("--optim adamw_hf", {"optim": "adamw_torch"}, "is read as --optim adamw_torch"),
        ("--past_index 1", {}, "Transformers has dropped it"),
        ("--freeze_feature_extractor", {"freeze": "feature_encoder"}, "is read as --freeze feature_encoder"),
        ("--freeze_feature_extractor True", {"freeze": "feature_encoder"}, "is read as --freeze feature_encoder"),
        ("--freeze_feature_encoder False", {"freeze": "none"}, "is read as --freeze none"),
        ("--no_freeze_feature_encoder", {"freeze": "none"}, "is read as --freeze none"),
        ("--freeze_base_model", {"freeze": "encoder"}, "is read as --freeze encoder"),
        ("--use_auth_token", {}, "used automatically"),
        ("--use_auth_token True", {}, "used automatically"),
        ("--use_auth_token False", {}, "HF_HUB_DISABLE_IMPLICIT_TOKEN=1"),
        ("--use_auth_token hf_secret", {"token": "hf_secret"}, "is read as --token"),
        ("--save_safetensors", {}, "always saved as safetensors"),
        ("--save_safetensors False", {}, "is not possible"),
        ("--logging_dir logs", {"logging_dir": "logs"}, "TensorBoard events go to logs"),
        ("--overwrite_output_dir", {"overwrite_output_dir": True}, "is replaced"),
        ("--no_cuda", {"use_cpu": True}, "is read as --use_cpu"),
        ("--no_cuda False", {"use_cpu": False}, "is read as --use_cpu"),
        ("--per_gpu_train_batch_size 8", {"per_device_train_batch_size": 8}, "per_device_train_batch_size"),
        ("--per_gpu_eval_batch_size 8", {"per_device_eval_batch_size": 8}, "per_device_eval_batch_size"),
        ("--push_to_hub_model_id me/x", {"hub_model_id": "me/x"}, "is read as --hub_model_id"),
        ("--push_to_hub_token hf_secret", {"hub_token": "hf_secret"}, "is read as --hub_token"),
        ("--adafactor", {"optim": "adafactor"}, "is read as --optim adafactor"),
        ("--use_ipex", {}, "--use_ipex is not used"),
    ],
)
def test_an_old_flag_becomes_todays_and_says_so(old: str, new: dict[str, Any], note: str) -> None:
    values, notes = read(old)
    assert values == new
    assert len(notes) == 1
    assert note in notes[0]
    assert "hf_secret" not in notes[0]
    assert "\n" not in notes[0]


@pytest.mark.parametrize(
    "words",
    [
        "--freeze_base_model False",
        "--adafactor no",
        "--group_by_length False",
        "--overwrite_output_dir False",
        "--learning_rate 3e-5",
    ],
)
def test_what_changes_nothing_says_nothing(words: str) -> None:
    assert read(words)[1] == []


def test_everything_else_stays_as_it_was() -> None:
    values, notes = read("--max_steps -1 --attention_mask False --report_to a b --seed=1 --no_cuda")
    assert (len(values), values["max_steps"], values["report_to"], len(notes)) == (5, -1, ["a", "b"], 1)


def test_every_dropped_flag_works_bare() -> None:
    for flag in LEGACY_FLAGS.keys() - declared_flags(*TRAIN_CLASSES).keys():
        with contextlib.suppress(UsageError):  # a flag that needs a value
            assert len(read(f"--{flag}")[1]) == 1


@pytest.mark.parametrize(
    "words",
    [
        "--evaluation_strategy steps --eval_strategy epoch",
        "--eval_strategy epoch --evaluation_strategy steps",
        "--warmup_ratio 0.1 --warmup_steps 500",
        "--freeze_feature_extractor --freeze last-2",
        "--no_cuda --use_cpu False",
        "--push_to_hub_token hf_a --hub_token hf_b",
        "--freeze_feature_encoder --no_freeze_feature_encoder",
    ],
)
def test_old_and_new_that_contradict(words: str) -> None:
    with pytest.raises(UsageError, match="contradict each other") as caught:
        read(words)
    assert "hf_" not in str(caught.value)


def test_old_and_new_that_agree() -> None:
    assert read("--evaluation_strategy epoch --eval_strategy epoch")[0] == {"eval_strategy": "epoch"}
    assert read("--no_cuda --use_cpu")[0] == {"use_cpu": True}


@pytest.mark.parametrize(
    ("text", "kept", "note"),
    [
        ("--warmup_ratio 0.1 --warmup-ratio=0.2", {"warmup_steps": 0.2}, "--warmup_steps 0.2 (below 1: a fraction"),
        ("--warmup_ratio 0.1 --warmup_ratio 0.1", {"warmup_steps": 0.1}, "--warmup_steps 0.1 (below 1: a fraction"),
        ("--push_to_hub_token hf_a --push_to_hub_token hf_b", {"hub_token": "hf_b"}, "is read as --hub_token"),
        ("--fp16_backend apex --fp16_backend auto", {}, "--fp16_backend auto is not used"),
    ],
)
def test_an_old_flag_twice_takes_the_last_value(text: str, kept: dict[str, Any], note: str) -> None:
    values, notes = read(text)
    assert values == kept
    assert note in notes[-1]
    assert len(notes) == (1 if "0.1 --warmup_ratio 0.1" in text else 2)
    assert len(notes) == 1 or notes[0].endswith("is given twice; the last value is used")
    assert not any("hf_" in line for line in notes)


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("--warmup_ratio 0.1 --warmup_steps 0", 0.1),
        ("--warmup_ratio 0.0 --warmup_steps 500", 500),
        ("--warmup_ratio 0 --warmup_steps 0", 0),
    ],
)
def test_a_warmup_of_zero_meant_unset(words: str, kept: float) -> None:
    assert read(words)[0] == {"warmup_steps": kept}


def test_freezing_the_base_model_includes_the_feature_encoder() -> None:
    values, notes = read("--freeze_feature_extractor False --freeze_base_model")
    assert values == {"freeze": "encoder"}
    assert notes == ["--freeze_base_model is read as --freeze encoder, which includes the feature encoder"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--warmup_ratio 1.5", "--warmup_ratio 1.5: expected a fraction of all steps"),
        ("--warmup_ratio 1", "from 0 to below 1"),
        ("--warmup_ratio nan", "expected a fraction"),
        ("--warmup_ratio ten", "--warmup_ratio ten: expected a number"),
        ("--group_by_length maybe", "--group_by_length maybe: expected true or false"),
        ("--push_to_hub_organization us", "Use --hub_model_id us/NAME"),
    ],
)
def test_values_that_cannot_be_translated(words: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(words)
    assert message in str(caught.value)


def test_the_documentation_has_every_old_flag() -> None:
    table = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    for flag in LEGACY_FLAGS.keys() - {"no_freeze_feature_encoder"}:
        assert f"`--{flag}" in table
