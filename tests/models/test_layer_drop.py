"""LayerDrop beside a learned sum of layers, for every architecture that has both."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
import transformers

from earmark.models.build_model import ModelSource, build_for_training
from earmark.models.freeze import encoder_layers
from earmark.models.layer_drop import drop_rate
from tests.families.tiny_models import KINDS_BY_FAMILY
from tests.tiny import ARCHITECTURES, tone

WITHOUT_LAYERDROP = ("audio-spectrogram-transformer", "sew-d", "tc_resnet")
KINDS = [one for one in KINDS_BY_FAMILY if one.id not in WITHOUT_LAYERDROP]


def build(kind: str, rate: float) -> Any:
    torch.manual_seed(0)
    name = "encoder_layerdrop" if kind == "whisper" else "layerdrop"
    settings = {**ARCHITECTURES[kind], name: rate, "use_weighted_layer_sum": True}
    return build_for_training(ModelSource(model_type=kind, config_overrides=json.dumps(settings)), ["a", "b"], 0.5, 0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sum_of_layers_trains_with_layers_left_out(kind: str) -> None:
    audio = build(kind, 0.5)
    model, inputs = audio.model, audio.frontend([tone(300, 0.5), tone(500, 0.5)])
    model.train()
    gone = set()
    for _ in range(12):
        model.zero_grad()
        model(**inputs).logits.square().sum().backward()
        for i, layer in enumerate(encoder_layers(model, audio.family)):
            gradients = [weight.grad for weight in layer.parameters() if weight.requires_grad]
            if all(gradient is None or not gradient.any() for gradient in gradients):
                gone.add(i)
    dropped = set(range(audio.family.first_dropped_layer, len(encoder_layers(model, audio.family))))
    assert gone == dropped  # each is left out at times, and none is always there
    assert drop_rate(model.config, audio.family) == 0.5  # as it will be saved
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs).logits, model(**inputs).logits)


@pytest.mark.parametrize("kind", ["wav2vec2-bert", "whisper", "sew"])
def test_gradient_checkpointing_gives_the_same_gradients(kind: str) -> None:
    gradients = []
    for checkpointing in (False, True):
        audio = build(kind, 0.5)
        audio.model.train()
        if checkpointing:
            enable = getattr(audio.model, "activation_checkpointing_enable", None)  # its name in later Transformers
            (enable or audio.model.gradient_checkpointing_enable)()
        transformers.set_seed(1)  # the library draws SpecAugment with numpy
        audio.model(**audio.frontend([tone(300, 0.5)])).logits.square().sum().backward()
        gradients.append({name: weight.grad for name, weight in audio.model.named_parameters()})
    for name, gradient in gradients[0].items():
        other = gradients[1][name]
        assert (gradient is None) == (other is None), name
        if gradient is not None:
            torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-6)
