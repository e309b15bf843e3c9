"""Counted operations against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch

from earmark.bench.flops import Shapes, flop_of_clip
from earmark.models.build_model import AudioModel, ModelSource, build_for_training
from earmark.models.freeze import freeze
from tests.tiny import overrides

CPU = torch.device("cpu")


def test_shapes_count_padding_and_interpolate() -> None:
    shapes = Shapes()
    shapes.add(4, 100, 350)
    shapes.add(2, 50, 100)
    shapes.add(4, 100, 400)
    assert shapes.clips == 10
    assert shapes.useful_share == 850 / 900
    assert shapes.flop(lambda width: width**2) == 8 * 100**2 + 2 * 50**2


def test_few_lengths_are_counted_and_the_others_interpolated() -> None:
    shapes, counted = Shapes(), []
    for width in range(1, 102):
        shapes.add(1, width, width)

    def flop_of_width(width: int) -> float:
        counted.append(width)
        return 3.0 * width + 7

    assert shapes.flop(flop_of_width) == pytest.approx(sum(3 * width + 7 for width in range(1, 102)))
    assert counted[0] == 1
    assert counted[-1] == 101
    assert len(counted) == 6


def tiny(model_type: str, what: str) -> AudioModel:
    audio = build_for_training(
        ModelSource(model_type=model_type, config_overrides=overrides(model_type)), ["a", "b", "c"], 0.5, 0.5
    )
    freeze(audio, what)
    return audio


def wav2vec2_flop(frames: int, config) -> dict[str, float]:
    """Forward operations of the tiny wav2vec2, stage by stage, two for each multiplication."""
    conv, before, samples = 0, 1, 8000
    for width, kernel, stride in zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True):
        samples = (samples - kernel) // stride + 1
        conv += 2 * samples * before * width * kernel
        before = width
    assert samples == frames
    wide, inner = config.hidden_size, config.intermediate_size
    # an even kernel makes one frame more, which is then cut off
    groups = config.num_conv_pos_embedding_groups
    positions = 2 * (frames + 1) * wide * (wide // groups) * config.num_conv_pos_embeddings
    layer = 2 * frames * (4 * wide * wide + 2 * wide * inner) + 2 * 2 * frames * frames * wide
    head = 2 * frames * wide * config.classifier_proj_size + 2 * config.classifier_proj_size * 3
    rest = 2 * frames * before * wide + positions + config.num_hidden_layers * layer + head
    return {"conv": conv, "rest": rest}


def test_wav2vec2_costs_what_its_sizes_say() -> None:
    audio = tiny("wav2vec2", "feature_encoder")
    parts = wav2vec2_flop(24, audio.model.config)
    samples = {"samples": torch.zeros(1, 8000)}
    assert flop_of_clip(audio, samples, CPU, None, backward=False) == sum(parts.values())
    learned = 3 * parts["rest"]  # each product has two on the way back
    assert flop_of_clip(audio, samples, CPU, None, backward=True) == parts["conv"] + learned
    features = {"features": torch.zeros(1, 24, 8)}
    assert flop_of_clip(audio, features, CPU, None, backward=True) == learned
    assert all(parameter.grad is None for parameter in audio.model.parameters())


def test_bfloat16_costs_the_same() -> None:
    audio = tiny("wav2vec2", "none")
    samples = {"samples": torch.zeros(1, 8000)}
    counts = {flop_of_clip(audio, samples, CPU, dtype, backward=True) for dtype in (None, torch.bfloat16)}
    assert len(counts) == 1
