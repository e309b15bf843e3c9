"""The project's forward beside the library's: same numbers, whatever the batch, in one graph."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
import torch

from earmark.families import fused
from earmark.families.wav2vec2 import Wav2Vec2, WavLM
from earmark.models.build_model import AudioModel, ModelSource, build_for_training
from earmark.models.casting import cast_weights
from earmark.models.forward import ModelForward, pads_exactly
from earmark.models.packed import can_pack
from earmark.scoring.torch_scorer import TorchScorer
from tests.tiny import ARCHITECTURES, RATE_HZ

CPU = torch.device("cpu")
FAMILY = (*Wav2Vec2.model_types, *WavLM.model_types)
LAYER_NORMS = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}
VARIANTS = [(kind, {}) for kind in FAMILY] + [(kind, LAYER_NORMS) for kind in FAMILY if kind != "data2vec-audio"]
VARIANTS += [("hubert", {"feat_proj_layer_norm": False}), ("wav2vec2", {"conv_bias": True})]


def build(kind: str, **overrides: object) -> AudioModel:
    """A tiny classifier with weights large enough that a fault shows in the logits."""
    torch.manual_seed(0)
    settings = json.dumps({**ARCHITECTURES[kind], **overrides})
    audio = build_for_training(ModelSource(model_type=kind, config_overrides=settings), ["a", "b", "c"], 1.0, 1.0)
    with torch.no_grad():
        for parameter in audio.model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3)
    return audio


def clips(*seconds: float) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [(0.1 * rng.standard_normal(round(s * RATE_HZ))).astype(np.float32) for s in seconds]


def library_logits(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    return type(model).forward(model, **inputs).logits


@pytest.mark.parametrize(("kind", "overrides"), VARIANTS)
def test_evaluation_is_the_library_s(kind: str, overrides: dict[str, Any]) -> None:
    audio = build(kind, **overrides)
    model = audio.model.eval()
    assert isinstance(model.forward, ModelForward)
    assert model.forward.static is not None
    inputs = audio.frontend(clips(0.7, 0.7))
    with torch.no_grad():
        ours, theirs = model(**inputs).logits, library_logits(model, inputs)
    assert theirs.std() > 1e-3
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("kind", "overrides"), VARIANTS)
def test_padding_changes_nothing(kind: str, overrides: dict[str, Any]) -> None:
    audio = build(kind, **overrides)
    model = audio.model.eval()
    mixed = clips(0.3, 1.0, 0.61)
    with torch.no_grad():
        together = model(**audio.frontend(mixed)).logits
        alone = torch.cat([library_logits(model, audio.frontend([clip])) for clip in mixed])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("kind", "overrides"), VARIANTS)
def test_packed_weights_give_the_library_s_answers(kind: str, overrides: dict[str, Any]) -> None:
    audio = build(kind, **overrides)
    mixed = clips(0.3, 1.0, 0.61)
    with torch.no_grad():
        alone = [library_logits(audio.model.eval(), audio.frontend([clip])) for clip in mixed]
    scorer = TorchScorer(audio.model, audio.frontend, CPU)
    with scorer.session():
        np.testing.assert_allclose(scorer.logits(mixed), torch.cat(alone).numpy(), atol=1e-5, rtol=1e-4)


@pytest.mark.skipif(not can_pack(CPU), reason="nothing to pack for on this processor")
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.02)], ids=["float32", "bfloat16"]
)
def test_a_group_norm_is_folded_accurately(dtype: torch.dtype, tolerance: float) -> None:
    """Filters that remove nearly all of a signal leave a variance that is a small difference."""
    layer = build("wav2vec2").model.base_model.feature_extractor.conv_layers[0].to(dtype)
    time = torch.arange(RATE_HZ, dtype=torch.float64) / RATE_HZ
    samples = (3 + torch.sin(2 * torch.pi * 50 * time) + 1e-2 * torch.sin(2 * torch.pi * 3000 * time)).to(dtype)
    with torch.no_grad():
        layer.conv.weight -= layer.conv.weight.mean(dim=-1, keepdim=True)
        exact = copy.deepcopy(layer).double()
        expected = exact.layer_norm(exact.conv(samples.double()[None, None]))[0].T
        rows, matrix = fused._normalized(layer.conv, layer.layer_norm, samples)
    error = (rows.double() @ matrix.double().T - expected).norm() / expected.norm()
    assert error < tolerance


@pytest.mark.parametrize("kind", FAMILY)
def test_gradients_are_the_library_s(kind: str) -> None:
    audio = build(kind, layerdrop=0.0, mask_time_prob=0.0, hidden_dropout=0.0, attention_dropout=0.0,
                  activation_dropout=0.0, feat_proj_dropout=0.0)  # fmt: skip
    model = audio.model.train()
    inputs = audio.frontend(clips(0.7, 0.7))
    gradients = []
    for forward in (lambda: model(**inputs).logits, lambda: library_logits(model, inputs)):
        model.zero_grad()
        forward().square().sum().backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize(
    ("kind", "num_layers"),
    [("wav2vec2", 1), *(pytest.param(kind, 2, marks=pytest.mark.slow) for kind in ("wavlm", "data2vec-audio"))],
)
def test_one_full_graph(kind: str, num_layers: int) -> None:
    """Masks, LayerDrop, lengths, cast weights: nothing of a training step leaves the graph."""
    masks = {"mask_time_prob": 0.3, "mask_feature_prob": 0.1, "mask_feature_length": 2}
    audio = build(kind, layerdrop=0.5, num_hidden_layers=num_layers, **masks)
    model = audio.model.train()
    inputs = audio.frontend(clips(0.5, 1.0))
    model.forward.training_dtype = torch.bfloat16
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    compiled(**inputs).logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_layer_drop_rate() -> None:
    audio = build("wav2vec2", layerdrop=0.3, hidden_dropout=0.0, num_hidden_layers=1, apply_spec_augment=False,
                  attention_dropout=0.0, activation_dropout=0.0, feat_proj_dropout=0.0)  # fmt: skip
    model = audio.model.train()
    inputs = audio.frontend(clips(0.1))
    torch.manual_seed(0)
    with torch.no_grad():
        values = torch.stack([model(**inputs).logits[0, 0] for _ in range(600)])
    different = values.unique()
    assert len(different) == 2  # with the layer and without
    assert min((values == value).float().mean().item() for value in different) == pytest.approx(0.3, abs=0.05)


def test_the_first_layer_of_wavlm_is_never_dropped() -> None:
    audio = build("wavlm", layerdrop=1.0, num_hidden_layers=1, apply_spec_augment=False)
    layer = audio.model.wavlm.encoder.layers[0].attention.q_proj
    seen = []
    layer.register_forward_hook(lambda *_: seen.append(1))
    audio.model.train()(**audio.frontend(clips(0.2)))
    assert seen


@pytest.mark.parametrize("kind", ["wav2vec2", "wavlm"])
def test_gradient_checkpointing_is_kept(kind: str) -> None:
    audio = build(kind)
    model = audio.model.train()
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable()
    calls = []
    model.base_model.encoder.layers[0].attention.q_proj.register_forward_hook(lambda *_: calls.append(1))
    model(**audio.frontend(clips(0.3))).logits.sum().backward()
    assert len(calls) == 2  # computed again on the way back


def test_what_the_family_s_forward_does_not_know_goes_through_the_library() -> None:
    audio = build("wav2vec2", use_weighted_layer_sum=True)
    assert audio.model.forward.static is None
    assert not pads_exactly(audio.model)
    plain = build("wav2vec2").model.eval()
    states = plain(torch.randn(1, 8_000), output_hidden_states=True).hidden_states
    assert len(states) == plain.config.num_hidden_layers + 1
    assert plain(torch.randn(2, 8_000), labels=torch.tensor([0, 1])).loss is not None


def test_batch_norms_keep_float32() -> None:
    model = build("tc_resnet").model
    kept = {name for name, weight in cast_weights(model, torch.bfloat16).items() if weight.dtype == torch.float32}
    assert kept == {
        name for name, _ in model.named_parameters() if "norm" in name or "stem.1" in name or "cut.1" in name
    }


def test_saved_features_give_the_same_logits() -> None:
    audio = build("wav2vec2")
    model = audio.model.eval()
    inputs = audio.frontend(clips(0.6, 1.0))
    with torch.no_grad():
        num_samples = inputs["attention_mask"].sum(-1)
        features = model(**inputs, stop_at="features")
        again = model(features=features, num_frames=model.forward.static.num_frames(num_samples)).logits
        torch.testing.assert_close(again, model(**inputs).logits)
