"""Speed up linear layers and convolutions of a training step in bfloat16 on x86 CPUs.

torch adds the bias of a linear layer by copying it to each row of the output first, which takes a quarter of the time
of a product with more outputs than inputs. oneDNN adds it in the product. torch's convolutions change the layout of
their input and output. Computed as products of overlapping frames, they keep frames contiguous for the next layers.
Wide grouped convolutions are products of spectra: :mod:`earmark.models.spectral_convolution`.

Shapes: B batch, F frames, R rows, K inputs, N outputs, W kernel width.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from earmark.models.packed import can_pack, replaced_forwards
from earmark.models.spectral_convolution import convolve, is_faster, is_spectral


class TrainingProducts:
    """Replaces the forward of linear layers and convolutions during a training step.

    Modules compute as usual without gradients and in types other than bfloat16, and so do modules whose ``forward`` was
    replaced.

    Args:
        model: the model to search for modules.
    """

    def __init__(self, model: nn.Module) -> None:
        modules = [module for module in model.modules() if "forward" not in vars(module)]
        self._forwards: dict[nn.Module, Callable[..., torch.Tensor]] = {
            **{module: partial(_linear, module) for module in modules if type(module) is nn.Linear},
            **{
                module: partial(_convolution, module)
                for module in modules
                if type(module) is nn.Conv1d and _is_plain(module)
            },
            **{module: partial(_spectral, module) for module in modules if is_spectral(module)},
        }

    def used(self) -> AbstractContextManager[None]:
        """Use the faster forward of the modules in this context."""
        return replaced_forwards(self._forwards)


def can_multiply(device: torch.device) -> bool:
    """Return whether oneDNN can compute the products of a training step in bfloat16 on this device."""
    supports_bfloat16 = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", bool)
    return can_pack(device) and bool(supports_bfloat16())


def _is_plain(convolution: nn.Conv1d) -> bool:
    is_dense = convolution.groups == 1 and convolution.dilation == (1,)
    return is_dense and convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)


def _is_taken(module: Any, values: torch.Tensor) -> bool:
    return torch.is_grad_enabled() and values.dtype == module.weight.dtype == torch.bfloat16 and values.numel() > 0


def _linear(module: nn.Linear, values: torch.Tensor) -> torch.Tensor:
    if module.bias is None or not _is_taken(module, values):
        return F.linear(values, module.weight, module.bias)
    return _product(values, module.weight, module.bias)


def _product(values: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return values (..., K) times a weight (N, K), plus a bias (N,)."""
    rows: torch.Tensor = _Product.apply(values.reshape(-1, values.shape[-1]), weight, bias)
    # Models write into the product, which torch forbids if an autograd function returns a view.
    return rows.view(*values.shape[:-1], -1)


def _convolution(module: nn.Conv1d, values: torch.Tensor) -> torch.Tensor:
    """Return the convolution of (B, C, F), as a transposed view of contiguous (B, F, N)."""
    frames = values.transpose(-1, -2)
    if module.bias is None or values.ndim != 3 or not frames.is_contiguous() or not _is_taken(module, values):
        return nn.Conv1d.forward(module, values)
    rows = _Windows.apply(frames, module.kernel_size[0], module.stride[0], int(module.padding[0]))
    matrix = module.weight.transpose(1, 2).flatten(1)  # (N, W * C)
    return _product(rows, matrix, module.bias).transpose(1, 2)


def _spectral(module: Any, values: torch.Tensor) -> torch.Tensor:
    if values.ndim != 3 or not _is_taken(module, values) or not is_faster(module, values):
        return nn.Conv1d.forward(module, values)
    return convolve(values, module.weight, module.bias, int(module.padding[0]), module.groups)


class _Product(torch.autograd.Function):
    """Rows (R, K) times a weight (N, K), plus a bias (N,)."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(values, weight)
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(values, weight, bias, "none", [], "")
        return product

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        values, weight = ctx.saved_tensors
        needs_values, needs_weight, needs_bias = ctx.needs_input_grad
        of_values = gradient @ weight if needs_values else None
        of_weight = gradient.t() @ values if needs_weight else None
        return of_values, of_weight, gradient.sum(dim=0) if needs_bias else None


class _Windows(torch.autograd.Function):
    """Overlapping windows (B, F', W * C) of frames (B, F, C), padded with zeros on both sides."""

    @staticmethod
    def forward(ctx: Any, frames: torch.Tensor, width: int, stride: int, padding: int) -> torch.Tensor:
        batch, count, channels = frames.shape
        ctx.shape, ctx.geometry = frames.shape, (width, stride, padding)
        padded = F.pad(frames, (0, 0, padding, padding)).contiguous()
        shape = (batch, (count + 2 * padding - width) // stride + 1, width * channels)
        strides = ((count + 2 * padding) * channels, stride * channels, 1)
        return padded.as_strided(shape, strides).contiguous()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (batch, count, channels), (width, stride, padding) = ctx.shape, ctx.geometry
        windows = gradient.reshape(batch, -1, width, channels)
        # Sums in float32, as in the convolution that this replaces.
        padded = windows.new_zeros(batch, count + 2 * padding, channels, dtype=torch.float32)
        for offset in range(width):
            padded[:, offset : offset + stride * windows.shape[1] : stride] += windows[:, :, offset]
        return padded[:, padding : padding + count].to(gradient.dtype), None, None, None
