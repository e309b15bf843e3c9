"""``--search_space``: what it may say, and one line for all else."""

from __future__ import annotations

from pathlib import Path

import pytest

from earmark.errors import UsageError
from earmark.settings.data_flags import DataArguments
from earmark.settings.model_flags import ModelArguments
from earmark.settings.run_flags import RunArguments
from earmark.settings.train_settings import from_keywords
from earmark.train.arguments import EarmarkTrainingArguments
from earmark.train.search_space import Dimension, parse_space

CLASSES = (DataArguments, ModelArguments, RunArguments, EarmarkTrainingArguments)


def parsed(*words: str) -> list[Dimension]:
    return parse_space(words, CLASSES)


def test_ranges_and_choices_have_the_type_of_their_flag() -> None:
    text = "learning_rate=1e-5:1e-3:log,num_train_epochs=2:6, freeze=none|last-2"
    space = parsed(text, "--per-device-train-batch-size=8|16", "ema=none|0.99", "weight_decay=0:1", "bf16=true|false")
    assert space == [
        Dimension("learning_rate", 1e-5, 1e-3, log=True),
        Dimension("num_train_epochs", 2, 6),
        Dimension("freeze", choices=("none", "last-2")),
        Dimension("per_device_train_batch_size", choices=(8, 16)),
        Dimension("ema", choices=(None, 0.99)),
        Dimension("weight_decay", 0.0, 1.0),
        Dimension("bf16", choices=(True, False)),
    ]
    whole = {one.name: isinstance(one.low, int) for one in space if not one.choices}
    assert whole == {"learning_rate": False, "num_train_epochs": True, "weight_decay": False}
    assert isinstance(parsed("num_train_epochs=1.5:3")[0].low, float)
    assert parsed("gradient_accumulation_steps=1:8:log") == [Dimension("gradient_accumulation_steps", 1, 8, log=True)]


def test_choices_may_hold_commas() -> None:
    text = "augment=none|shift,speed:0.8|spec, learning_rate=1e-5:1e-3,class_weights=none|balanced"
    space = parsed(text, "augment_speed=0.9,1.1|0.8,1.2")
    assert [one.name for one in space] == ["augment", "learning_rate", "class_weights", "augment_speed"]
    assert space[0].choices == ("none", "shift,speed:0.8", "spec")
    assert space[3].choices == ("0.9,1.1", "0.8,1.2")


def test_choices_of_nothing_are_what_they_say(tmp_path: Path) -> None:
    given = {"output_dir": tmp_path, "model_type": "tc_resnet", "class_weights": "balanced", "augment": "spec"}
    settings = from_keywords(given)
    assert settings.changed(class_weights="none").training.class_weights is None
    assert settings.changed(augment="none").training.augmentation() is None
    with pytest.raises(UsageError, match="--label_smoothing_factor 2: expected from 0 to below 1"):
        settings.changed(label_smoothing_factor=2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("learning_rate=1e-5:1e-3,log", "1e-3,log is not a valid value: expected a number"),
        ("", "expected NAME=LOW:HIGH"),
        ("learning_rate", "learning_rate: expected NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=A|B|C"),
        ("learning_rate=", "expected NAME="),
        ("lerning_rate=1:2", "lerning_rate: not a flag of `earmark train`; did you mean learning_rate?"),
        ("lr=1:2", "lr: not a flag of `earmark train`; did you mean learning_rate?"),
        ("learning_rate=1e-5:1e-3,learning_rate=1|2", "learning_rate: given twice"),
        ("learning_rate=0:1e-3:log", "cannot contain 0"),
        ("learning_rate=-1:1e-3:log", "cannot contain 0"),
        ("learning_rate=1e-3:1e-5", "the lower one first"),
        ("learning_rate=1e-3:inf", "the lower one first"),
        ("learning_rate=nan:1", "the lower one first"),
        ("learning_rate=a:b", "a is not a valid value: expected a number"),
        ("lora=1.5:8", "1.5 is not a valid value: expected a whole number"),
        ("learning_rate=1:2:3", "expected NAME=LOW:HIGH"),
        ("learning_rate=1:2:log:4", "expected NAME=LOW:HIGH"),
        ("freeze=1:2", "takes no numbers. Give its choices"),
        ("bf16=0:1", "takes no numbers"),
        ("bf16=yes|perhaps", "perhaps is not a valid value: expected true or false"),
        ("sampler=random|sorted", "sorted is not a valid value: expected random or balanced"),
        ("learning_rate=1e-3", "two or more different choices"),
        ("learning_rate=1e-3|0.001", "two or more different choices"),
        ("report=true|false", "must be the same for all trials"),
        ("task=single_label|multi_label", "must be the same for all trials"),
        ("calibrate=true|false", "must be the same for all trials"),
        ("target_precision=0.5:0.9", "must be the same for all trials"),
        ("seed=0|1", "must be the same for all trials"),
        # validation clips of the background class, too
        ("background_ratio=0.5:2", "must be the same for all trials"),
        ("data_dir=a|b", "must be the same for all trials"),
        ("model_name_or_path=a|b", "must be the same for all trials"),
    ],
)
def test_what_cannot_be_searched_is_one_line(text: str, said: str) -> None:
    with pytest.raises(UsageError) as told:
        parsed(text)
    assert said in str(told.value)
    assert str(told.value).startswith("--search_space ")


def test_nothing_to_search_is_one_line() -> None:
    with pytest.raises(UsageError, match="needs a search space"):
        parsed()


@pytest.mark.parametrize(
    "text",
    [
        *("bucket_waste=0.1|0.2", "max_length_seconds=1:2", "model_type=tc_resnet|ast", "layer_decay=0.5:1"),
        *("config_overrides=dropout=0.1|dropout=0.2", "max_steps=100:1000", "shots=5|10"),
    ],
)
def test_what_is_learned_with_can_be_searched(text: str) -> None:
    assert parsed(text)[0].name == text.partition("=")[0]


def test_values_are_checked_by_the_settings_themselves() -> None:
    settings = from_keywords({"output_dir": "x", "model_type": "tc_resnet"})
    changed = settings.changed(freeze="last-2", bucket_waste=0.5)
    assert (changed.training.bucket_waste, changed.model.freeze) == (0.5, "last-2")
    assert settings.model.freeze is None
    with pytest.raises(UsageError, match="--freeze sideways"):
        settings.changed(freeze="sideways")
