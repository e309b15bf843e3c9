"""How long to train when no length is given."""

from __future__ import annotations

import logging
import math
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState

from earmark.errors import UsageError
from earmark.families.family_registry import find_family
from earmark.train.arguments import EarmarkTrainingArguments
from earmark.train.callbacks import EvaluateEveryEpochs
from earmark.train.recipe import Needs, choose_rates, training_needs
from earmark.train.schedule import choose_length, choose_patience, evaluations_without_gain, with_length


def arguments(**settings: Any) -> EarmarkTrainingArguments:
    return EarmarkTrainingArguments(output_dir="unused", use_cpu=True, **settings)


def chosen(num_clips: int = 288, *, validates: bool = True, **settings: Any) -> EarmarkTrainingArguments:
    needs = Needs(1000, ema=0.99)
    return with_length(arguments(**settings), num_clips, 32, needs, pretrained=False, validates=validates)


@pytest.mark.parametrize("num_clips", [1, 7, 31, 32, 33, 288, 2_634, 51_094, 2_000_000])
@pytest.mark.parametrize("batch", [8, 32, 1024])
@pytest.mark.parametrize("pretrained", [False, True])
def test_the_steps_are_those_needed_within_3_to_100_or_200_epochs(num_clips: int, batch: int, pretrained: bool) -> None:
    length = choose_length(num_clips, batch, 1000, pretrained=pretrained)
    most = 100 if pretrained else 200
    an_epoch = math.ceil(num_clips / batch)
    assert length.steps == length.epochs * an_epoch
    assert 3 <= length.epochs <= most
    if 3 < length.epochs < most:
        assert 1000 <= length.steps < 1000 + an_epoch
    elif length.epochs == 3:
        assert 2 * an_epoch < 1000 <= length.steps or length.steps > 1000
    else:
        assert length.steps <= 1000 + an_epoch
    assert math.ceil(length.epochs / length.eval_epochs) <= 40
    assert length.eval_epochs == 1 or length.epochs / length.eval_epochs >= 20


def test_the_reason_names_what_decided() -> None:
    assert choose_length(288, 32, 1000, pretrained=False).reason == "random weights need about 1,000 steps"
    assert "at least 3 times" in choose_length(2_000_000, 32, 1000, pretrained=True).reason
    assert "at most 100 epochs" in choose_length(20, 32, 1000, pretrained=True).reason


def test_a_length_is_chosen_with_evaluations_and_patience_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "earmark"):
        training = chosen()
    assert (training.num_train_epochs, training.eval_epochs, training.early_stopping_patience) == (112, 5, 8)
    (line,) = [record.getMessage() for record in caplog.records if record.getMessage().startswith("schedule: ")]
    assert "112 epochs (1,008 steps of 32 clips), evaluation every 5 epochs" in line
    assert "early stopping after 8 evaluations" in line
    assert "random weights need about 1,000 steps" in line
    assert "--num_train_epochs" in line


def test_random_weights_are_averaged_unless_something_else_is_asked_for() -> None:
    assert chosen().ema == 0.99
    assert chosen(ema=0.9).ema == 0.9
    assert not chosen(ema=0).ema
    assert chosen(num_train_epochs=3).ema is None
    assert with_length(arguments(), 288, 32, Needs(1000, None), pretrained=True, validates=True).ema is None


def test_tc_resnet_is_averaged_and_a_pretrained_encoder_is_not() -> None:
    for model_type, pretrained, ema in (
        ("tc_resnet", False, 0.99),
        ("tc_resnet", True, 0.99),
        ("wav2vec2", True, None),
    ):
        assert training_needs(arguments(), find_family(model_type), pretrained=pretrained, freeze=None).ema == ema
    assert training_needs(arguments(), find_family("tc_resnet"), pretrained=True, freeze="encoder").ema is None


@pytest.mark.parametrize("length", [{"num_train_epochs": 3}, {"num_train_epochs": 0.5}, {"max_steps": 27}])
def test_a_given_length_is_taken_as_it_is(length: dict[str, float]) -> None:
    training = chosen(**length)
    for name, value in length.items():
        assert getattr(training, name) == value
    assert (training.eval_epochs, training.early_stopping_patience) == (None, None)


def test_each_given_setting_wins() -> None:
    assert chosen(eval_epochs=1).eval_epochs == 1
    assert chosen(eval_epochs=1).early_stopping_patience == 38
    assert chosen(early_stopping_patience=0).early_stopping_patience == 0
    assert chosen(early_stopping_patience=4).early_stopping_patience == 4
    by_steps = chosen(eval_strategy="steps", eval_steps=100)
    assert (by_steps.eval_epochs, by_steps.early_stopping_patience) == (None, 4)  # a third of 10.08 evaluations


@pytest.mark.parametrize("settings", [{"eval_strategy": "no"}, {"load_best_model_at_end": False}, {"validates": False}])
def test_there_is_no_early_stopping_without_a_best_model(settings: dict[str, Any]) -> None:
    training = chosen(**settings)
    assert training.num_train_epochs == 112
    assert not training.early_stopping_patience


def test_a_large_data_set_is_not_stopped_early() -> None:
    assert chosen(2_000_000).num_train_epochs == 3
    assert choose_patience(3, averaged=False) == 3


def test_patience_is_longer_for_weights_that_are_not_averaged() -> None:
    assert (choose_patience(24, averaged=True), choose_patience(24, averaged=False)) == (8, 12)
    assert chosen(ema=0).early_stopping_patience == 12


def test_without_evaluations_a_chosen_length_saves_about_20_checkpoints(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "earmark"):
        training = chosen(eval_strategy="no")
    assert training.eval_epochs == 5
    assert "checkpoint every 5 epochs" in caplog.text
    saves = []
    for epoch in range(1, 113):
        control = TrainerControl(should_save=True)
        state = TrainerState(epoch=float(epoch), global_step=9 * epoch, max_steps=9 * 112)
        EvaluateEveryEpochs().on_epoch_end(training, state, control)
        saves += [epoch] * control.should_save
    assert saves == [*range(5, 112, 5), 112]
    assert chosen(eval_strategy="no", save_strategy="no").eval_epochs is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"early_stopping_patience": -1}, "--early_stopping_patience -1: expected"),
        ({"early_stopping_patience": 2, "eval_strategy": "no"}, "nothing is evaluated"),
        ({"eval_epochs": 0}, "--eval_epochs 0: expected"),
        ({"eval_epochs": 2, "eval_strategy": "steps", "eval_steps": 5}, "has no effect with --eval_strategy steps"),
        ({"num_train_epochs": 0}, "--num_train_epochs 0: expected"),
    ],
)
def test_settings_that_contradict(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        arguments(**settings)


def test_a_larger_batch_with_its_higher_rate_needs_fewer_steps() -> None:
    usual, doubled, small = (
        training_needs(
            arguments(per_device_train_batch_size=size), find_family("whisper"), pretrained=True, freeze=None
        ).steps
        for size in (32, 64, 4)
    )
    assert (doubled, small) == (usual / 2, usual)


@pytest.mark.parametrize(
    ("model_type", "pretrained", "batch", "steps"),
    [("wav2vec2", True, 32, 1200), ("wav2vec2", True, 1024, 150), ("tc_resnet", False, 256, 125)],
)
def test_fewer_steps_need_the_higher_rate(model_type: str, pretrained: bool, batch: int, steps: int) -> None:
    def needed(learning_rate: float) -> int:
        training = arguments(per_device_train_batch_size=batch, learning_rate=learning_rate)
        return training_needs(training, find_family(model_type), pretrained=pretrained, freeze=None).steps

    chosen, usual = (
        choose_rates(
            arguments(per_device_train_batch_size=size), find_family(model_type), pretrained=pretrained, freeze=None
        ).body
        for size in (batch, 32)
    )
    all_steps = 1200 if model_type == "wav2vec2" else 1000
    assert needed(chosen) == steps
    assert needed(usual) == all_steps
    assert needed(usual / 10) == all_steps


@pytest.mark.parametrize(
    ("accuracies", "since"),
    [([], 0), ([0.5], 0), ([0.5, 0.5], 1), ([0.5, 0.4, 0.6], 0), ([0.7, 0.4, 0.6], 2), ([math.nan, 0.1], 0)],
)
def test_evaluations_since_the_best(accuracies: list[float], since: int) -> None:
    history: list[dict[str, float]] = [{"loss": 1.0}]
    history += [{"eval_accuracy": value, "eval_loss": -value} for value in accuracies]
    assert evaluations_without_gain(history, "accuracy", higher_is_better=True) == since
    assert evaluations_without_gain(history, "eval_accuracy", higher_is_better=True) == since
    assert evaluations_without_gain(history, None, higher_is_better=False) == since
