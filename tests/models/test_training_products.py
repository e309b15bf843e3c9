"""Layers of a training step in bfloat16 compute the same with oneDNN's products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from earmark.models import forward, training_products
from earmark.models.build_model import ModelSource, build_for_training
from earmark.models.spectral_convolution import convolve, is_faster, is_spectral
from earmark.models.training_products import TrainingProducts, can_multiply
from tests.tiny import overrides

pytestmark = pytest.mark.skipif(
    not can_multiply(torch.device("cpu")), reason="this CPU or this torch has no bfloat16 products of oneDNN"
)
ROUNDING = 2.0**-8  # of bfloat16


def gradients(module: nn.Module, values: torch.Tensor) -> list[torch.Tensor]:
    """Output and gradients of input and weights, float64, of a loss that weights all outputs differently."""
    values = values.clone().requires_grad_()
    module.zero_grad()
    output = module(values)
    wave = torch.arange(output.numel()).sin().bfloat16().view(output.shape)
    (output * wave.to(output.dtype)).sum().backward()
    return [output.detach().double(), values.grad.double(), *(one.grad.double() for one in module.parameters())]


def assert_same(module: nn.Module, values: torch.Tensor) -> None:
    """The layer in bfloat16, with and without oneDNN's products, is equally near to float64."""
    module, values = module.bfloat16(), values.bfloat16()
    with TrainingProducts(module).used():
        found = gradients(module, values)
    assert "forward" not in vars(module)
    wanted = gradients(module.double(), values.double())
    for one, other in zip(found, wanted, strict=True):
        assert (one - other).norm() < ROUNDING * other.norm()


@pytest.mark.parametrize("shape", [(5, 16), (2, 3, 16), (1, 16)])
def test_linear_layers(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    assert_same(nn.Linear(16, 40), torch.randn(shape))


@pytest.mark.parametrize(
    ("width", "stride", "padding", "count"), [(3, 1, 1, 20), (3, 2, 1, 20), (3, 2, 1, 21), (5, 3, 0, 22)]
)
def test_convolutions(width: int, stride: int, padding: int, count: int) -> None:
    torch.manual_seed(0)
    frames = torch.randn(2, count, 32)
    assert_same(nn.Conv1d(32, 48, width, stride, padding), frames.transpose(1, 2))


@pytest.mark.parametrize(
    ("width", "padding", "frames"),
    [(64, 32, 20), (64, 32, 21), (63, 31, 20), (64, 0, 70), (64, 5, 57), (64, 40, 30), (64, 32, 80), (64, 32, 1)],
)
def test_wide_grouped_convolutions(width: int, padding: int, frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    calls: list[int] = []

    def counted(*arguments: Any) -> torch.Tensor:
        calls.append(1)
        return convolve(*arguments)

    monkeypatch.setattr(training_products, "is_faster", lambda module, values: True)
    monkeypatch.setattr(training_products, "convolve", counted)
    convolution = nn.Conv1d(24, 48, width, padding=padding, groups=4)
    assert_same(nn.utils.parametrizations.weight_norm(convolution, dim=2), torch.randn(3, 24, frames))
    assert calls


def test_spectra_are_used_where_they_save_operations() -> None:
    positions = nn.Conv1d(768, 768, 128, padding=64, groups=16, device="meta")
    assert is_spectral(positions)
    assert is_faster(positions, torch.empty(32, 768, 49, device="meta"))
    assert is_faster(positions, torch.empty(16, 768, 300, device="meta"))
    assert not is_faster(positions, torch.empty(1, 768, 49, device="meta")), "transforms of the weights dominate"
    assert not is_faster(positions, torch.empty(32, 768, 3000, device="meta")), "transforms of the frames dominate"
    assert not is_faster(nn.Conv1d(8, 8, 5, groups=2), torch.empty(32, 8, 4)), "there is no output"
    assert not is_faster(nn.Conv1d(768, 768, 3, groups=16), torch.empty(32, 768, 49))


def test_a_convolution_of_frames_leaves_frames_contiguous() -> None:
    convolution = nn.Conv1d(8, 6, 3, padding=1).bfloat16()
    with TrainingProducts(convolution).used():
        output = convolution(torch.randn(2, 10, 8).bfloat16().transpose(1, 2))
    assert output.shape == (2, 6, 10)
    assert output.transpose(1, 2).is_contiguous()


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Conv1d(8, 8, 3, groups=2),
        lambda: nn.Conv1d(8, 8, 3, dilation=2),
        lambda: nn.Conv1d(8, 8, 3, padding="same"),
        lambda: nn.Conv1d(8, 8, 3, padding=1, padding_mode="circular"),
        lambda: nn.Conv1d(8, 8, 3, bias=False),
    ],
)
def test_other_convolutions_compute_as_usual(make: Callable[[], nn.Conv1d]) -> None:
    torch.manual_seed(0)
    convolution, values = make().bfloat16(), torch.randn(2, 10, 8).bfloat16().transpose(1, 2)
    usual = convolution(values)
    with TrainingProducts(convolution).used():
        assert torch.equal(convolution(values), usual)


@pytest.mark.parametrize("make", [lambda: nn.Linear(16, 8), lambda: nn.Conv1d(16, 8, 3)])
def test_a_replaced_forward_is_called_and_kept(make: Callable[[], nn.Module]) -> None:
    module = make().bfloat16()
    calls: list[int] = []
    plain = module.forward

    def wrapper(values: torch.Tensor) -> torch.Tensor:
        calls.append(len(values))
        return plain(values)

    module.forward = wrapper  # type: ignore[method-assign]
    with TrainingProducts(module).used():
        module(torch.randn(3, 16, 16).bfloat16())
    assert calls == [3]
    assert module.forward is wrapper


def test_float32_and_scoring_are_untouched() -> None:
    torch.manual_seed(0)
    linear, values = nn.Linear(16, 8), torch.randn(4, 16)
    usual = linear(values)
    with TrainingProducts(linear).used():
        assert torch.equal(linear(values), usual)
        with torch.no_grad():
            assert torch.equal(linear(values), usual)


def test_a_step_of_whisper_has_the_same_loss_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    audio = build_for_training(
        ModelSource(model_type="whisper", config_overrides=overrides("whisper")), ["a", "b"], 1.0, 1.0
    )
    audio.model.train()
    audio.model.forward.training_dtype = torch.bfloat16
    inputs = audio.frontend.inputs(0.1 * torch.randn(4, 16_000))
    layouts = []
    hook = audio.model.encoder.layers[0].register_forward_pre_hook(
        lambda _, args: layouts.append(args[0].is_contiguous())
    )

    def step() -> list[torch.Tensor]:
        audio.model.zero_grad()
        logits = audio.model(**inputs).logits
        nn.functional.cross_entropy(logits, torch.tensor([0, 1, 1, 0])).backward()
        grads = [one.grad.flatten() for one in audio.model.parameters() if one.grad is not None]
        return [logits.detach(), torch.cat(grads)]

    found = step()
    monkeypatch.setattr(forward, "can_multiply", lambda device: False)
    usual = step()
    hook.remove()
    assert layouts[0], "the frames of all layers follow the layout of the first"
    for one, other in zip(found, usual, strict=True):
        assert (one - other).norm() < 4 * ROUNDING * other.norm()
