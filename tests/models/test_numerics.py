"""A model computed two ways: what counts as a difference, where it begins, and that nothing else changes."""

from __future__ import annotations

import copy
import json
import math
import random
from typing import Any

import numpy as np
import pytest
import torch

from earmark.models.build_model import AudioModel, ModelSource, build_for_training
from earmark.models.embedding import EmbeddingModel
from earmark.models.numerics import (
    GRADIENT_TOLERANCE,
    LAYER_TOLERANCE,
    LOGITS_TOLERANCE,
    Computed,
    Way,
    compare,
    compare_gradients,
    compute,
    copy_on_cpu,
    first_different_layer,
    gradient_errors,
    layer_errors,
    logits_error,
)
from tests.families.tiny_models import KINDS_BY_FAMILY
from tests.tiny import ARCHITECTURES, RATE_HZ

CPU = torch.device("cpu")
EXACT, HALF = Way(CPU, torch.float32), Way(CPU, torch.bfloat16)
AUTOCAST = Way(CPU, torch.bfloat16, autocast=True)


def build(kind: str, labels: int = 2, seed: int = 0) -> AudioModel:
    torch.manual_seed(seed)
    source = ModelSource(model_type=kind, config_overrides=json.dumps(ARCHITECTURES[kind]))
    return build_for_training(source, [str(i) for i in range(labels)], 0.5, 0.5)


def inputs_of(audio: AudioModel, count: int = 1, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    clips = [(0.1 * rng.standard_normal(RATE_HZ // 2)).astype(np.float32) for _ in range(count)]
    return lambda device: audio.frontend(clips)


def loss_of(count: int) -> Any:
    return lambda outputs: torch.nn.functional.cross_entropy(outputs["logits"], torch.arange(count) % 2)


def break_in_bfloat16(layer: Any) -> None:
    """Let a layer give its output backwards in bfloat16."""
    plain = type(layer).forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        output = plain(layer, *args, **kwargs)
        return output.flip(-1) if output.dtype == torch.bfloat16 else output

    layer.forward = forward


@pytest.mark.parametrize("kind", KINDS_BY_FAMILY)
@pytest.mark.parametrize("way", [HALF, AUTOCAST], ids=["cast", "autocast"])
def test_random_tiny_models_stay_within_tolerance(kind: str, way: Way) -> None:
    for seed, labels in ((0, 2), (1, 2), (2, 12)):
        audio = build(kind, labels, seed)
        everything = {"gradients": True, "layers": True}
        exact = compute(audio.model, inputs_of(audio), EXACT, loss_of(1), **everything)
        half = compute(audio.model, inputs_of(audio), way, loss_of(1), **everything)
        assert max(layer_errors(half, exact).values()) < LAYER_TOLERANCE / 2
        assert 0 < logits_error(half.logits, exact) < LOGITS_TOLERANCE / 3
        assert compare(half, exact) is None
        assert compare_gradients(half, exact) is None


@pytest.mark.parametrize("kind", ["wav2vec2", "whisper", "audio-spectrogram-transformer"])
def test_a_layer_that_is_wrong_in_bfloat16_is_found_and_named(kind: str) -> None:
    audio = build(kind)
    names = {
        "wav2vec2": "wav2vec2.feature_extractor.conv_layers.1.activation",
        "whisper": "encoder.layers.1.fc1",
        "audio-spectrogram-transformer": "audio_spectrogram_transformer.layernorm",
    }
    layer = audio.model.get_submodule(names[kind])
    exact = compute(audio.model, inputs_of(audio, 2), EXACT, loss_of(2), layers=True)
    break_in_bfloat16(layer)
    half = compute(audio.model, inputs_of(audio, 2), HALF, loss_of(2), layers=True)
    difference = compare(half, exact)
    assert difference is not None
    assert difference.what == ("outputs of a layer" if kind == "whisper" else "logits")
    assert difference.size > difference.tolerance
    named = first_different_layer(half, exact, audio.model)
    assert named == f"{names[kind]} ({type(layer).__name__})"


def test_values_that_are_not_finite_are_beyond_tolerance() -> None:
    exact = Computed(torch.tensor([[1.0, 2.0]]), 1.0, 0.5)
    for wrong in (math.nan, math.inf):
        difference = compare(Computed(torch.tensor([[1.0, wrong]]), 1.0, 0.5), exact)
        assert str(difference).startswith("the logits are not finite")
        difference = compare(Computed(torch.tensor([[1.0, 2.0]]), 1.0, wrong), exact)
        assert difference is not None
        assert difference.what == "losses"
    assert compare(Computed(torch.tensor([[1.0, 2.0]]), 1.0, 0.9), exact) is not None
    assert compare(Computed(torch.tensor([[1.01, 2.0]]), 1.0, 0.51), exact) is None


def test_one_bad_clip_among_many_counts() -> None:
    logits = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    wrong = logits.clone()
    wrong[3] = wrong[3].flip(0)
    assert logits_error(wrong, Computed(logits, 1.0)) > LOGITS_TOLERANCE
    assert logits_error(logits + 5.0, Computed(logits, 1.0)) < 1e-5  # the same probabilities


def test_logits_that_chance_makes_equal_are_no_reason_for_alarm() -> None:
    audio = build("wav2vec2")
    with torch.no_grad():
        audio.model.classifier.weight[1] = audio.model.classifier.weight[0] + 1e-6
    exact = compute(audio.model, inputs_of(audio), EXACT)
    assert exact.logits.std() < 1e-4
    assert compare(compute(audio.model, inputs_of(audio), HALF), exact) is None


def test_a_wrong_gradient_is_found_by_the_weights_before_it() -> None:
    audio = build("wav2vec2")
    layer = audio.model.base_model.feature_projection.projection
    exact = compute(audio.model, inputs_of(audio), EXACT, loss_of(1), gradients=True)

    class Backwards(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, values: torch.Tensor) -> torch.Tensor:
            return values.clone()

        @staticmethod
        def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
            return gradient.flip(-1)

    layer.register_forward_hook(
        lambda _, __, output: Backwards.apply(output) if output.dtype == torch.bfloat16 else output
    )
    half = compute(audio.model, inputs_of(audio), HALF, loss_of(1), gradients=True)
    assert compare(half, exact) is None
    difference = compare_gradients(half, exact)
    assert difference is not None
    assert difference.size > GRADIENT_TOLERANCE
    assert difference.layer.startswith("wav2vec2.feature_projection.projection")


def test_gradients_that_are_rounding_alone_are_no_reason_for_alarm() -> None:
    exact = {"weight": torch.ones(100), "key.bias": torch.full((10,), 1e-9)}
    half = {"weight": torch.ones(100), "key.bias": torch.full((10,), -1e-3)}
    assert max(gradient_errors(half, exact).values()) < 0.1
    half["weight"] = -exact["weight"]
    assert gradient_errors(half, exact)["weight"] == pytest.approx(2.0)


@pytest.mark.parametrize("kind", ["wav2vec2", "tc_resnet"])
def test_nothing_of_the_model_and_no_generator_changes(kind: str) -> None:
    audio = build(kind)
    model = audio.model.train()
    model.base_model.eval()
    first = next(model.parameters())
    first.grad = torch.ones_like(first)
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    for way in (EXACT, HALF, AUTOCAST):
        compute(model, inputs_of(audio, 2), way, loss_of(2), gradients=True, layers=True)
    assert [module.training for module in model.modules()] == modes
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert torch.equal(first.grad, torch.ones_like(first))
    assert sum(parameter.grad is not None for parameter in model.parameters()) == 1
    assert model.forward.scoring_weights is None
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_copy_on_the_cpu_shares_no_weights() -> None:
    audio = build("wav2vec2")
    other = copy_on_cpu(EmbeddingModel(audio.model.eval()))
    with torch.no_grad():
        expected = audio.model(**inputs_of(audio)(CPU), stop_at="embeddings")
        for parameter in audio.model.parameters():
            parameter.zero_()
        torch.testing.assert_close(other(**inputs_of(audio)(CPU)).logits, expected)
