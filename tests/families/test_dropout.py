from __future__ import annotations

import pytest
import torch

from earmark.families.dropout import dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("p", [0.05, 0.1, 0.5])
def test_drop_rate_scale_and_gradient(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    values = torch.ones(200, 1_001, dtype=dtype, requires_grad=True)  # a count that four does not divide
    out = dropout(values, p, training=True)
    assert (out == 0).float().mean().item() == pytest.approx(p, abs=0.005)
    kept = out[out != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - p)))
    out.sum().backward()
    torch.testing.assert_close(values.grad, out.detach())


def test_neighbours_are_independent() -> None:
    torch.manual_seed(0)
    dropped = (dropout(torch.ones(100_000), 0.3, training=True) == 0).float()
    for lag in (1, 2, 3, 4):
        assert (dropped[lag:] * dropped[:-lag]).mean().item() == pytest.approx(0.09, abs=0.006)


def test_seeded_and_off_in_evaluation() -> None:
    values = torch.randn(50)
    torch.manual_seed(3)
    first = dropout(values, 0.5, training=True)
    torch.manual_seed(3)
    torch.testing.assert_close(dropout(values, 0.5, training=True), first)
    assert dropout(values, 0.5, training=False) is values
    assert dropout(values, 0.0, training=True) is values


def test_everything_can_be_dropped() -> None:
    assert not dropout(torch.ones(100), 1.0, training=True).any()


@pytest.mark.parametrize("p", [0.999, 0.99995, 0.99999, 0.9999999])
def test_the_scale_of_a_high_drop_rate_is_exact(p: float) -> None:
    torch.manual_seed(0)
    values = torch.ones(2_000_000)
    out = dropout(values, p, training=True)
    kept = out[out != 0]
    assert len(kept) == pytest.approx(2_000_000 * (1 - p), rel=0.2, abs=10)
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - p)), rtol=0.01, atol=0)


@pytest.mark.parametrize("p", [0.99999, 0.999995])
def test_a_high_drop_rate_is_that_of_torch_in_float16(p: float) -> None:
    values = torch.ones(2_000_000, dtype=torch.float16)
    torch.manual_seed(0)
    out = dropout(values, p, training=True)
    torch.manual_seed(0)
    torch.testing.assert_close(out, torch.nn.functional.dropout(values, p))
