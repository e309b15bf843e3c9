"""Convolutions that a CPU computes wrongly in half precision: found by running them, and computed in float32."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from earmark.models.convolutions import TOLERANCE, CheckedConvolutions, Geometry, probe, relative_error

# wrong in bfloat16 on a Xeon with AMX in torch 2.13.0: (in, out, kernel, stride, groups, padding)
SHAPES = [
    (8, 8, 8, 8, 1, 0), (8, 16, 8, 5, 1, 0), (24, 16, 8, 4, 1, 0), (16, 16, 16, 8, 1, 0), (12, 16, 16, 1, 1, 0),
    (4, 16, 128, 1, 1, 0), (16, 16, 8, 1, 2, 4), (32, 32, 16, 1, 4, 8), (8, 8, 128, 1, 4, 64),
]  # fmt: skip


class Network(nn.Module):
    """Two convolutions; ``odd`` is the one that the tests break."""

    def __init__(self, *layers: Any) -> None:
        super().__init__()
        self.even, self.odd = layers or (nn.Conv1d(3, 6, 5, stride=2), nn.Conv1d(6, 7, 4))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.odd(self.even(values))


@pytest.fixture
def network() -> Iterator[Network]:
    torch.manual_seed(0)
    probe.cache_clear()
    yield Network()
    probe.cache_clear()


def break_convolutions(monkeypatch: pytest.MonkeyPatch, wrong: Callable[..., torch.Tensor]) -> list[torch.dtype]:
    """Pass the bfloat16 output of the kernel of ``odd`` through ``wrong``; returns the types it is called with."""
    plain, seen = F.conv1d, []

    def conv1d(values: torch.Tensor, weight: torch.Tensor, *args: Any) -> torch.Tensor:
        output = plain(values, weight, *args)
        if weight.shape != (7, 6, 4):
            return output
        seen.append(values.dtype)
        return wrong(values, output) if values.dtype == torch.bfloat16 else output

    monkeypatch.setattr(F, "conv1d", conv1d)
    return seen


def garbage(values: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    """As on AMX: some lengths are wrong."""
    return output.flip(-1) if values.shape[-1] % 8 in (3, 6) else output


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("autocast", [False, True])
def test_every_length_is_right(shape: tuple[int, ...], autocast: bool) -> None:
    channels, out, kernel, stride, groups, padding = shape
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(channels, out, kernel, stride, padding, groups=groups))
    exact = copy.deepcopy(model)
    CheckedConvolutions(model)
    if not autocast:
        model.bfloat16()
    for length in range(kernel + 6 * stride, kernel + 6 * stride + 9):
        values = torch.randn(2, channels, length)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            half = model(values if autocast else values.bfloat16())
        assert half.dtype == torch.bfloat16
        assert relative_error(half.detach().float(), exact(values).detach()) < 0.02


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_right(shape: tuple[int, ...]) -> None:
    channels, out, kernel, stride, groups, padding = shape
    torch.manual_seed(0)
    layers = (nn.Conv1d(2, channels, 3), nn.Conv1d(channels, out, kernel, stride, padding, groups=groups))
    model = Network(*layers)
    exact = copy.deepcopy(model)
    CheckedConvolutions(model)
    values = torch.randn(2, 2, kernel + 20 * stride)
    exact(values).square().sum().backward()
    model.bfloat16()(values.bfloat16()).float().square().sum().backward()
    for half, right in zip(model.parameters(), exact.parameters(), strict=True):
        assert half.grad is not None
        assert right.grad is not None
        assert relative_error(half.grad.float(), right.grad) < 0.05


def test_a_wrong_layer_runs_in_float32_at_every_length(
    network: Network, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    exact = copy.deepcopy(network)
    seen = break_convolutions(monkeypatch, garbage)
    convolutions = CheckedConvolutions(network)
    with caplog.at_level(logging.WARNING):
        convolutions.check(torch.bfloat16, backward=False)
        convolutions.check(torch.bfloat16, backward=False)
    assert convolutions.in_float32 == {torch.bfloat16: {"odd"}}
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("1 of 2 convolutions run in float32")
    assert line.endswith("odd")
    seen.clear()
    network.bfloat16()
    for length in range(20, 36):
        values = torch.randn(2, 3, length)
        with torch.inference_mode():
            assert relative_error(network(values.bfloat16()).float(), exact(values)) < 0.02
    assert set(seen) == {torch.float32}


def test_layers_are_found_under_autocast_without_being_asked(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = copy.deepcopy(network)
    break_convolutions(monkeypatch, garbage)
    CheckedConvolutions(network)
    values = torch.randn(2, 3, 26)
    with torch.autocast("cpu", torch.bfloat16):
        half = network(values)
    assert half.dtype == torch.bfloat16
    assert relative_error(half.detach().float(), exact(values).detach()) < 0.02


def test_a_wrong_gradient_counts_in_training(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong_backward(values: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        twice = values.sum() - values.sum().detach()
        return output + twice  # the same values, another gradient

    exact = copy.deepcopy(network)
    break_convolutions(monkeypatch, wrong_backward)
    convolutions = CheckedConvolutions(network)
    convolutions.check(torch.bfloat16, backward=False)
    assert convolutions.in_float32[torch.bfloat16] == frozenset()
    convolutions.check(torch.bfloat16, backward=True)
    assert convolutions.in_float32[torch.bfloat16] == {"odd"}
    values = torch.randn(2, 3, 40)
    exact(values).square().sum().backward()
    network.bfloat16()(values.bfloat16()).float().square().sum().backward()
    assert network.even.weight.grad is not None
    assert relative_error(network.even.weight.grad.float(), exact.even.weight.grad) < 0.05


def test_values_that_are_not_finite_are_wrong(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    break_convolutions(monkeypatch, lambda values, output: output / 0)
    assert probe(Geometry.of_module(network.odd), torch.bfloat16, backward=False) == float("inf")
    assert probe(Geometry.of_module(network.even), torch.bfloat16, backward=True) < TOLERANCE


def test_one_compiled_graph(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = copy.deepcopy(network)
    break_convolutions(monkeypatch, garbage)
    CheckedConvolutions(network).check(torch.bfloat16, backward=False)
    network.bfloat16()
    torch._dynamo.reset()
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    values = torch.randn(2, 3, 26)
    assert relative_error(compiled(values.bfloat16()).detach().float(), exact(values).detach()) < 0.02


def test_probing_leaves_generators_alone(network: Network) -> None:
    CheckedConvolutions(network)
    network.bfloat16()
    before = torch.get_rng_state()
    with torch.inference_mode():
        network(torch.ones(1, 3, 40).bfloat16())
    assert probe.cache_info().currsize == 2
    assert torch.equal(torch.get_rng_state(), before)


def test_a_copy_has_layers_of_its_own(network: Network) -> None:
    CheckedConvolutions(network)
    other = copy.deepcopy(network)
    with torch.no_grad():
        other.odd.weight.zero_()
        other.odd.bias.zero_()
    assert other(torch.ones(1, 3, 40)).count_nonzero() == 0
    assert network(torch.ones(1, 3, 40)).count_nonzero() > 0


def test_nothing_is_probed_in_float32(network: Network) -> None:
    CheckedConvolutions(network)
    network(torch.ones(1, 3, 40)).sum().backward()
    assert probe.cache_info().currsize == 0
