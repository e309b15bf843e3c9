"""Operations counted from recorded shapes are those that PyTorch counts while it computes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from earmark.profiling.operations import operations
from earmark.profiling.trace_events import read_events


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).requires_grad_()


WORK: dict[str, Callable[[], torch.Tensor]] = {
    "linear": lambda: F.linear(draw(2, 5, 3), draw(7, 3), draw(7)),
    "bmm": lambda: draw(4, 5, 3) @ draw(4, 3, 6),
    "baddbmm": lambda: torch.baddbmm(draw(4, 5, 6), draw(4, 5, 3), draw(4, 3, 6)),
    "conv1d": lambda: F.conv1d(draw(3, 4, 50), draw(8, 4, 5), stride=2, padding=1, dilation=2),
    "conv2d": lambda: F.conv2d(draw(3, 4, 20, 30), draw(8, 4, 3, 5), draw(8), stride=(2, 3)),
    "transposed": lambda: F.conv_transpose1d(draw(3, 4, 20), draw(4, 8, 5), stride=2),
}


def counted(path: Path, work: Callable[[], torch.Tensor]) -> int:
    """The operations of forward and backward, from the shapes in a trace."""
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        work().sum().backward()
    profiler.export_chrome_trace(str(path))
    events = read_events(json.loads(path.read_text(encoding="utf-8")))
    return sum(operations(event.name, event.shapes, event.values) for event in events)


@pytest.mark.parametrize("name", WORK)
def test_products_and_convolutions_forward_and_backward(name: str, tmp_path: Path) -> None:
    with FlopCounterMode(display=False) as counter:
        WORK[name]().sum().backward()
    assert counted(tmp_path / "trace.json", WORK[name]) == counter.get_total_flops() > 0


def test_groups_count_once(tmp_path: Path) -> None:
    """16 groups of 4 channels: 2 operations for each of 64 x 4 x 5 weights at each of 46 places of 3 clips."""

    def work() -> torch.Tensor:
        return F.conv1d(draw(3, 64, 50), draw(64, 4, 5), groups=16)

    assert counted(tmp_path / "trace.json", work) == 3 * (2 * 3 * 46 * 64 * 4 * 5)


@pytest.mark.parametrize("kernel", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
def test_attention_counts_two_products_forward_and_four_or_five_backward(kernel: SDPBackend, tmp_path: Path) -> None:
    def work() -> torch.Tensor:
        with sdpa_kernel(kernel):
            return F.scaled_dot_product_attention(draw(2, 3, 10, 8), draw(2, 3, 12, 8), draw(2, 3, 12, 8))

    product = 2 * (2 * 3) * 10 * 12 * 8
    # the formula of the whole operator counts two products, and the plain kernel's two appear below it once more
    products = counted(tmp_path / "trace.json", work) / product
    assert products == (2 + 2 + 4 if kernel == SDPBackend.MATH else 2 + 5)


def test_packed_weights_of_a_cpu() -> None:
    """The operators that scoring uses on a CPU; their arguments are those of a recorded trace."""
    padding_stride_dilation = ["", "", "", "[0, 4]", "[1, 1]", "[1, 1]", "2"]
    shapes = [[9, 16, 1, 24], [16, 8, 1, 8], [16]]
    assert operations("mkldnn::_convolution_pointwise", shapes, padding_stride_dilation) == 2 * 9 * 25 * 16 * 8 * 8
    assert operations("mkldnn::_linear_pointwise", [[9, 24, 8], [16, 8], [16]]) == 2 * 9 * 24 * 8 * 16


def test_what_is_not_counted() -> None:
    assert operations("aten::add", [[3, 4], [3, 4]]) == 0
    assert operations("aten::mm", []) == 0
    assert operations("aten::mm", [[], []]) == 0
    assert operations("aten::convolution", [[3, 4, 50], [8, 4, 5]]) == 0  # without strides
