"""Compute layers in fewer passes while a scoring session has packed their weights.

:mod:`earmark.models.packed` marks the layers of a model in a scoring session. The forward of a family calls the
functions of this file, which use packed weights if there are any, and the modules otherwise.

Shapes: B batch, T samples, F frames, K inputs, N outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import nn


class Packing(Protocol):
    """Packed weights of a model on a CPU."""

    def takes(self, module: nn.Module, values: torch.Tensor) -> bool:
        """Return whether packed weights of ``module`` can be applied to ``values``."""

    def product(self, module: Any, rows: torch.Tensor, matrix: torch.Tensor, *, gelu: bool) -> torch.Tensor:
        """Return rows (F, K) times matrix (N, K), the output of ``module``, then GELU if ``gelu``."""

    def linear(self, module: Any, rows: torch.Tensor, *, gelu: bool) -> torch.Tensor:
        """Apply an ``nn.Linear`` to (..., K), then GELU if ``gelu``."""

    def over_frames(self, module: Any, frames: torch.Tensor, *, gelu: bool) -> torch.Tensor:
        """Apply an ``nn.Conv1d`` without padding, dilation and groups to (F, C), then GELU if ``gelu``."""

    def convolution(self, module: Any, frames: torch.Tensor, *, gelu: bool) -> torch.Tensor:
        """Apply any ``nn.Conv1d`` with zero padding to (B, F, C), then GELU if ``gelu``."""


def packing_for(module: nn.Module, values: torch.Tensor) -> Packing | None:
    """Return the packed weights to apply to ``values``; ``None`` to call the module."""
    packing: Packing | None = vars(module).get("packing")
    return packing if packing is not None and packing.takes(module, values) else None


def is_gelu(activation: Any) -> bool:
    """Return whether an activation is the exact GELU, not its tanh approximation."""
    if isinstance(activation, nn.GELU):
        return activation.approximate == "none"
    return getattr(activation, "act", None) is F.gelu  # Transformers' GELUActivation


def activated(linear: Any, activation: Any, rows: torch.Tensor) -> torch.Tensor:
    """Return ``activation(linear(rows))`` of rows (..., K)."""
    packing = packing_for(linear, rows) if is_gelu(activation) else None
    inner: torch.Tensor = activation(linear(rows)) if packing is None else packing.linear(linear, rows, gelu=True)
    return inner


def linears_before_gelu(layers: nn.Module | None) -> list[tuple[Any, Any]]:
    """Return ``(linear, activation)`` of blocks that compute ``activation_fn(fc1(rows))`` in the library's forward."""
    blocks = [] if layers is None else list(layers.modules())
    pairs = [(getattr(block, "fc1", None), getattr(block, "activation_fn", None)) for block in blocks]
    return [(linear, activation) for linear, activation in pairs if type(linear) is nn.Linear and is_gelu(activation)]


def encode_waveforms(
    layers: Sequence[Any], samples: torch.Tensor, num_samples: torch.Tensor | None
) -> torch.Tensor | None:
    """Apply the convolutional encoder of a waveform model, one clip at a time, with frames as rows of matrices.

    Convolutions become products of overlapping rows, so no layout is converted. The group norm of the first
    convolution is folded into its weights, and padding is not computed.

    Args:
        layers: modules with ``conv``, ``activation`` and perhaps ``layer_norm``, as in wav2vec2.
        samples: (B, T).
        num_samples: length of each clip, int64 (B,); ``None`` if all are T.

    Returns:
        (B, F, N), zero in frames of padding; ``None`` if the layers cannot be computed in this way.
    """
    packing = packing_for(layers[0].conv, samples[..., None])
    if packing is None or not all(_is_product(layer, index) for index, layer in enumerate(layers)):
        return None
    lengths = [samples.shape[1]] * len(samples) if num_samples is None else num_samples.tolist()
    clips = [_encode_clip(layers, packing, row[:length]) for row, length in zip(samples, lengths, strict=True)]
    return nn.utils.rnn.pad_sequence(clips, batch_first=True)


def _is_product(layer: Any, index: int) -> bool:
    conv, norm = layer.conv, getattr(layer, "layer_norm", None)
    is_plain = conv.groups == 1 and conv.dilation == (1,) and conv.padding == (0,) and "packing" in vars(conv)
    return is_plain and (not isinstance(norm, nn.GroupNorm) or (index == 0 and norm.num_groups == norm.num_channels))


def _encode_clip(layers: Sequence[Any], packing: Packing, samples: torch.Tensor) -> torch.Tensor:
    """Return (F, N) of samples (T,)."""
    frames = samples[:, None]  # (T, 1)
    for layer in layers:
        norm = getattr(layer, "layer_norm", None)
        fuses = is_gelu(layer.activation)
        if isinstance(norm, nn.GroupNorm):
            frames = packing.product(layer.conv, *_normalized(layer.conv, norm, samples), gelu=fuses)
        else:
            fuses = fuses and norm is None
            frames = packing.over_frames(layer.conv, frames, gelu=fuses)
            frames = frames if norm is None else norm(frames)
        frames = frames if fuses else layer.activation(frames)
    return frames


def _normalized(conv: Any, norm: nn.GroupNorm, samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows (F, K) and a matrix (N, K) whose product is a convolution of samples (T,) and its group norm.

    Mean and variance of each output over the frames follow from the mean and the covariance of the overlapping windows
    of samples, in float64, because a filter that removes most of a signal outputs small differences of large numbers.
    In half precision, the scaled weights are the sum of two numbers, so that they are not rounded a second time.
    """
    windows = samples.unfold(0, conv.kernel_size[0], conv.stride[0])  # (F, width)
    weight = conv.weight[:, 0].double()  # (N, width)
    exact = windows.double()
    mean = exact.mean(dim=0)
    exact = exact - mean
    covariance = exact.T @ exact / len(windows)
    variance = ((weight @ covariance) * weight).sum(dim=1).clamp(min=0)
    scale = norm.weight.double() * (variance + norm.eps).rsqrt()
    shift = norm.bias.double() - (weight @ mean) * scale  # the convolution's bias vanishes with the mean
    matrix = torch.cat([weight * scale[:, None], shift[:, None]], dim=1)  # (N, width + 1)
    rows = torch.cat([windows, windows.new_ones(len(windows), 1)], dim=1)
    rounded = matrix.to(samples.dtype)
    if samples.dtype == torch.float32:
        return rows, rounded
    rest = (matrix - rounded.double()).to(samples.dtype)
    return torch.cat([rows, rows], dim=1), torch.cat([rounded, rest], dim=1)
