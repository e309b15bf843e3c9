"""Every module that computes is a part of its family's model."""

from __future__ import annotations

import pytest

from earmark.families.model_parts import StepPart
from earmark.models.build_model import AudioModel, ModelSource, build_for_training
from tests.tiny import ARCHITECTURES, overrides


def tiny(model_type: str) -> AudioModel:
    source = ModelSource(model_type=model_type, config_overrides=overrides(model_type))
    return build_for_training(source, ["a", "b"], 1.0, longest_s=1.0)


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_every_layer_with_weights_is_in_a_part(model_type: str) -> None:
    audio = tiny(model_type)
    parts = {
        name: audio.family.part(name, module)
        for name, module in audio.model.named_modules()
        if any(True for _ in module.parameters(recurse=False)) and next(module.children(), None) is None
    }
    assert not [name for name, part in parts.items() if part is None]
    assert {StepPart.NORMS, StepPart.HEAD} <= set(parts.values())


@pytest.mark.parametrize("model_type", sorted(set(ARCHITECTURES) - {"tc_resnet"}))
def test_transformers_have_attention_and_an_mlp(model_type: str) -> None:
    audio = tiny(model_type)
    parts = [audio.family.part(name, module) for name, module in audio.model.named_modules()]
    assert {StepPart.ATTENTION, StepPart.MLP, StepPart.ACTIVATIONS} <= set(parts)


def test_names_of_wav2vec2() -> None:
    audio = tiny("wav2vec2")
    parts = {name: audio.family.part(name, module) for name, module in audio.model.named_modules()}
    body = "wav2vec2.encoder.layers.0"
    assert parts[f"{body}.attention.q_proj"] == StepPart.ATTENTION
    assert parts[f"{body}.feed_forward.output_dense"] == StepPart.MLP
    assert parts[f"{body}.feed_forward.intermediate_act_fn"] == StepPart.ACTIVATIONS
    assert parts[f"{body}.final_layer_norm"] == StepPart.NORMS
    assert parts["wav2vec2.feature_extractor.conv_layers.0.conv"] == StepPart.FEATURES
    assert parts["wav2vec2.feature_projection.projection"] == StepPart.PROJECTION
    assert parts["wav2vec2.encoder.pos_conv_embed"] == StepPart.POSITIONS
    assert parts["projector"] == parts["classifier"] == StepPart.HEAD
    assert parts["wav2vec2.encoder"] is None
