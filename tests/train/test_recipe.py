from __future__ import annotations

from pathlib import Path

import pytest
from transformers import HubertConfig, Wav2Vec2Config, WhisperConfig

from earmark.errors import UsageError
from earmark.families.family_registry import find_family
from earmark.scoring.diagnosis import Schedule
from earmark.train.arguments import EarmarkTrainingArguments
from earmark.train.recipe import choose_rates, global_batch_size, is_wav2vec2_base, warn_of_collapse, with_global_batch


def arguments(tmp_path: Path, **settings: object) -> EarmarkTrainingArguments:
    return EarmarkTrainingArguments(output_dir=str(tmp_path), use_cpu=True, **settings)


@pytest.mark.parametrize(("per_device", "batch", "steps"), [(32, 32, 4), (128, 128, 1), (200, 128, 1), (48, 32, 4)])
def test_the_global_batch_is_kept_by_accumulation(tmp_path: Path, per_device: int, batch: int, steps: int) -> None:
    training = with_global_batch(arguments(tmp_path, per_device_train_batch_size=per_device, global_batch_size=128))
    assert (training.per_device_train_batch_size, training.gradient_accumulation_steps) == (batch, steps)
    assert global_batch_size(training) == 128


def test_a_global_batch_that_cannot_be_shared_out(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="127"):
        with_global_batch(arguments(tmp_path, global_batch_size=127))
    with pytest.raises(UsageError, match="gradient_accumulation_steps"):
        with_global_batch(arguments(tmp_path, global_batch_size=64, gradient_accumulation_steps=2))
    with pytest.raises(UsageError, match="global_batch_size"):
        arguments(tmp_path, global_batch_size=0)


def test_rates_grow_with_the_batch_and_say_so(tmp_path: Path) -> None:
    usual = choose_rates(
        arguments(tmp_path, per_device_train_batch_size=128), find_family("wav2vec2"), pretrained=True, freeze=None
    )
    assert (usual.body, usual.head) == (3e-5, 3e-5)
    large = choose_rates(
        arguments(tmp_path, gradient_accumulation_steps=32), find_family("wav2vec2"), pretrained=True, freeze=None
    )
    assert large.body == pytest.approx(2.4e-4)  # the upper end of what works at 1,024 clips a step
    assert large.head == pytest.approx(5 * large.body)
    assert "times 8" in large.reason
    assert "1,024" in large.reason
    scratch = choose_rates(
        arguments(tmp_path, per_device_train_batch_size=128), find_family("tc_resnet"), pretrained=False, freeze=None
    )
    assert scratch.body == pytest.approx(8e-3)  # four times the batch, twice the rate
    assert scratch.head == scratch.body


def test_a_given_rate_is_taken_as_it_is(tmp_path: Path) -> None:
    training = arguments(tmp_path, learning_rate=1e-4, gradient_accumulation_steps=64)
    assert choose_rates(training, find_family("wav2vec2"), pretrained=True, freeze=None).head == 1e-4
    training = arguments(tmp_path, learning_rate=1e-4, head_learning_rate=1e-3)
    rates = choose_rates(training, find_family("wav2vec2"), pretrained=True, freeze=None)
    assert (rates.body, rates.head) == (1e-4, 1e-3)


def test_the_schedule_that_collapsed_is_warned_of_and_the_one_that_worked_is_not() -> None:
    collapsed = warn_of_collapse(Schedule(250, 3e-5, 1024, pretrained=True))
    assert collapsed is not None
    assert "too short for wav2vec2-base: 250 steps at a peak learning rate of 3e-05" in collapsed
    assert "1,024 clips a step" in collapsed
    assert warn_of_collapse(Schedule(2_000, 3e-5, 128, pretrained=True)) is None
    assert warn_of_collapse(Schedule(250, 1.6e-4, 1024, pretrained=True)) is None
    assert warn_of_collapse(Schedule(10, 3e-5, 32, pretrained=False)) is None


def test_nothing_is_said_about_models_that_nothing_is_known_about(tmp_path: Path) -> None:
    assert warn_of_collapse(Schedule(12, 3e-5, 32, pretrained=True, is_wav2vec2_base=False)) is None
    plain, adapted = arguments(tmp_path), arguments(tmp_path, lora=4)
    base, large = Wav2Vec2Config(), Wav2Vec2Config(hidden_size=1024, num_hidden_layers=24)
    assert is_wav2vec2_base(base, find_family(base), plain, None)
    assert is_wav2vec2_base(base, find_family(base), plain, "feature_encoder")
    for config, training, freeze in (
        (base, plain, "encoder"),
        (base, plain, "last-2"),
        (base, adapted, None),
        (large, plain, None),
        (Wav2Vec2Config(num_hidden_layers=2), plain, None),
        (HubertConfig(), plain, None),
        (WhisperConfig(), plain, None),
    ):
        assert not is_wav2vec2_base(config, find_family(config), training, freeze)
