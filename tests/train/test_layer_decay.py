"""Rates by layer: in the order in which a model computes, together with weight decay and a rate of the head's own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from earmark.cli.main import main
from earmark.errors import UsageError
from earmark.models.freeze import encoder_layers, find_body, head_parameters
from earmark.train.layer_decay import depths, learning_rates
from tests.families.tiny_models import KINDS_BY_FAMILY, build_varied
from tests.tiny import tone
from tests.train.small import build, make_trainer, mixed_lengths_s, usable, write_clips


def order_of_modules(model: Any, inputs: dict[str, torch.Tensor]) -> list[nn.Module]:
    order: list[nn.Module] = []
    for module in model.modules():
        module.register_forward_hook(lambda one, *_: order.append(one))
    type(model).forward(model, **inputs)  # the library's own
    return order


@pytest.mark.parametrize("model_type", KINDS_BY_FAMILY)
def test_depth_follows_the_order_in_which_the_model_computes(model_type: str) -> None:
    audio = build_varied(model_type)
    model = audio.model
    layers = list(encoder_layers(model, audio.family))
    order = order_of_modules(model, audio.frontend([tone(440, 1.0)]))
    first, last = order.index(layers[0]), order.index(layers[-1])
    depth = depths(audio)
    assert set(depth) == {name for name, _ in model.named_parameters()}
    for number, layer in enumerate(layers, 1):
        ids = {id(weight) for weight in layer.parameters()}
        assert {depth[name] for name, weight in model.named_parameters() if id(weight) in ids} == {number}
    in_layers = {id(weight) for layer in layers for weight in layer.parameters()}
    for name, module in model.named_modules():
        own = [f"{name}.{part}" for part, w in module.named_parameters(recurse=False) if id(w) not in in_layers]
        if module in order and own and module is not find_body(model, audio.family):
            expected = 0 if order.index(module) < first else len(layers) + 1
            assert {depth[part] for part in own} == {expected}, name
            assert not first < order.index(module) < last
    assert {depth[name] for name in depth if name.endswith("masked_spec_embed")} <= {0}
    assert {depth[name] for name in head_parameters(model, audio.family)} == {len(layers) + 1}


def test_the_norm_of_large_models_lies_behind_the_layers() -> None:
    audio = build(do_stable_layer_norm=True, feat_extract_norm="layer")
    assert depths(audio)["wav2vec2.encoder.layer_norm.weight"] == 3
    assert depths(build())["wav2vec2.encoder.layer_norm.weight"] == 0


@pytest.mark.parametrize("head_rate", [None, 1e-2])
def test_groups_have_the_rate_of_their_layer_and_keep_their_weight_decay(
    head_rate: float | None, tmp_path: Path
) -> None:
    clips = usable(write_clips(tmp_path / "clips", mixed_lengths_s(8, longest_s=0.3)))
    audio = build(length_s=0.3, what_is_frozen="feature_encoder")
    settings = {"learning_rate": 1e-3, "weight_decay": 0.1, "layer_decay": 0.5, "head_learning_rate": head_rate}
    trainer = make_trainer(audio, clips, tmp_path / "run", **settings)
    optimizer = trainer.create_optimizer()
    name_of = {id(weight): name for name, weight in audio.model.named_parameters()}
    found = {
        name_of[id(weight)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for weight in group["params"]
    }
    assert found.keys() == {name for name, weight in audio.model.named_parameters() if weight.requires_grad}
    of_layer = {"encoder.layers.1": 0.5e-3, "encoder.layers.0": 0.25e-3, "feature_projection": 0.125e-3}
    for name, (rate, decay) in found.items():
        part = next((part for part in of_layer if f"wav2vec2.{part}." in name), None)
        if part is not None:
            assert rate == pytest.approx(of_layer[part])
        elif name in head_parameters(audio.model, audio.family):
            assert rate == (head_rate or 1e-3)
        norm_or_bias = "layer_norm" in name or name.endswith("bias")
        assert decay == (0.0 if norm_or_bias else 0.1), name
    trainer.train()
    peak = trainer.state.log_history[0]["learning_rate"]
    assert peak <= 1e-3


def test_one_rate_stays_one_group(tmp_path: Path) -> None:
    clips = usable(write_clips(tmp_path / "clips", mixed_lengths_s(4, longest_s=0.3)))
    assert len(make_trainer(build(), clips, tmp_path / "run").create_optimizer().param_groups) == 2


def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    clips = usable(write_clips(tmp_path / "clips", mixed_lengths_s(16, longest_s=0.3)))

    def run(checkpoint: str | None) -> dict[str, torch.Tensor]:
        settings = {"save_strategy": "epoch", "save_total_limit": None, "weight_decay": 0.1, "layer_decay": 0.5}
        trainer = make_trainer(build(length_s=0.3), clips, tmp_path / "run", **settings)
        trainer.train(resume_from_checkpoint=checkpoint)
        return {name: value.clone() for name, value in trainer.audio.model.state_dict().items()}

    whole, resumed = run(None), run(str(tmp_path / "run" / "checkpoint-4"))
    assert not [name for name, value in whole.items() if not torch.equal(value, resumed[name])]


def test_a_model_without_layers_is_one_line() -> None:
    audio = build("tc_resnet")
    body = find_body(audio.model, audio.family)
    body.layers = nn.Sequential(*body.layers)
    with pytest.raises(UsageError, match="tc_resnet has no stack of layers"):
        learning_rates(audio, SimpleNamespace(learning_rate=1e-3, head_learning_rate=None, layer_decay=0.5))


@pytest.mark.parametrize("decay", ["0", "1.5", "-1", "nan"])
def test_a_decay_out_of_range_is_one_line(decay: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--data_dir", str(tmp_path), "--model_type", "tc_resnet", "--output_dir", "y"]
    assert main([*words, f"--layer_decay={decay}"]) == 2
    assert f"--layer_decay {decay}: expected above 0 and at most 1" in capsys.readouterr().err
