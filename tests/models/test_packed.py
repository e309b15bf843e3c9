"""Packed products: the same numbers, the same model afterwards."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from earmark.models.build_model import ModelSource, build_for_training
from earmark.models.packed import PackedProducts, Product, can_pack
from earmark.scoring.torch_scorer import TorchScorer
from tests.tiny import overrides, tone

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(not can_pack(CPU), reason="nothing to pack for on this processor")


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(24, 40)
        self.without_bias = nn.Linear(40, 12, bias=False)
        self.product = Product()
        self.register_buffer("matrix", torch.randn(12, 6))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.product(self.without_bias(self.linear(rows)), self.matrix)


@pytest.fixture
def rows() -> torch.Tensor:
    return torch.randn(3, 50, 48)[..., ::2]  # not contiguous


def test_answers_are_the_same_and_so_is_the_model_afterwards(rows: torch.Tensor) -> None:
    model = Small()
    packed = PackedProducts(model)
    with torch.inference_mode():
        expected = model(rows)
        with packed.used():
            torch.testing.assert_close(model(rows), expected, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(model(rows[:1, :1]), expected[:1, :1], atol=1e-5, rtol=1e-5)
            assert len(packed._packed) == 3
    assert not any("forward" in vars(module) for module in model.modules())


def test_a_weight_that_has_changed_counts(rows: torch.Tensor) -> None:
    model = Small()
    packed = PackedProducts(model)

    def check() -> None:
        with torch.inference_mode():
            expected = model(rows)
            with packed.used():
                torch.testing.assert_close(model(rows), expected, atol=1e-5, rtol=1e-5)

    check()
    with torch.no_grad():
        model.linear.weight.mul_(2)
        model.matrix.add_(1)
    check()
    for _ in range(20):  # the allocator likes to give the same address again
        model.without_bias.weight.data = torch.randn(12, 40)
        check()


def test_what_cannot_be_packed_goes_the_usual_way(rows: torch.Tensor) -> None:
    model = Small()
    packed = PackedProducts(model)
    with packed.used():
        model(rows).sum().backward()
        assert model.linear.weight.grad is not None
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            assert model(rows).dtype == torch.bfloat16
        assert not packed._packed
        with torch.inference_mode():
            assert model.bfloat16()(rows.bfloat16()).dtype == torch.bfloat16
    assert not packed._packed


@pytest.mark.parametrize("kind", ["whisper", "tc_resnet", "audio-spectrogram-transformer", "wav2vec2"])
def test_models_and_their_log_mel_are_packed(kind: str) -> None:
    torch.manual_seed(0)
    audio = build_for_training(ModelSource(model_type=kind, config_overrides=overrides(kind)), ["a", "b"], 1.0, 1.0)
    scorer = TorchScorer(audio.model, audio.frontend, CPU)
    clips = [tone(300 + 200 * i, 1.0, seed=i) for i in range(3)]
    with scorer.session():
        ours = scorer.logits(clips)
    assert scorer._packed is not None
    assert any(isinstance(module, Product) for module in scorer._packed._packed) == (kind != "wav2vec2")
    scorer._packed = None
    with scorer.session():
        np.testing.assert_allclose(ours, scorer.logits(clips), atol=1e-5)


def test_sessions_of_many_threads_leave_the_model_as_it_was() -> None:
    torch.manual_seed(0)
    audio = build_for_training(
        ModelSource(model_type="wav2vec2", config_overrides=overrides("wav2vec2")), ["a", "b"], 1.0, 1.0
    )
    scorer = TorchScorer(audio.model.train(), audio.frontend, CPU)
    clip = tone(440, 0.3)

    def ask(_: int) -> np.ndarray:
        with scorer.session():
            return scorer.logits([clip])

    with ThreadPoolExecutor(8) as pool:
        answers = np.stack(list(pool.map(ask, range(40))))
    np.testing.assert_allclose(answers, np.broadcast_to(answers[0], answers.shape), atol=1e-5)
    assert audio.model.training
    assert not any("forward" in vars(module) for module in audio.model.modules() if module is not audio.model)
