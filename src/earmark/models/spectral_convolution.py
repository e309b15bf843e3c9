"""Compute a wide grouped convolution of a training step as products of spectra, on a CPU.

The positional convolution of wav2vec2 has 128 taps in 16 groups. oneDNN computes all of them for each frame, at a third
of the speed of its matrix products. By the convolution theorem, one small product for each frequency is enough: for 32
clips of 49 frames, a ninth of the operations. The Fourier transforms have few frames, so they are matrix products as
well. All of this is in float32, so the result is as exact as that of the convolution in bfloat16.

Shapes: B batch, F frames, F' output frames, C input channels, N output channels, G groups, W kernel width, T taps,
Q frequencies.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import nn

# Each operation takes about twice as long as one of the convolution in bfloat16, and the spectra have to be rearranged.
_FEWER_OPERATIONS = 4


def is_spectral(convolution: nn.Module) -> bool:
    """Return whether :func:`convolve` can compute a layer."""
    return (
        isinstance(convolution, nn.Conv1d)
        and type(convolution).forward is nn.Conv1d.forward
        and convolution.groups > 1
        and (convolution.stride, convolution.dilation) == ((1,), (1,))
        and convolution.padding_mode == "zeros"
        and not isinstance(convolution.padding, str)
    )


def is_faster(convolution: nn.Conv1d, values: torch.Tensor) -> bool:
    """Return whether spectra of (B, C, F) need so few operations that they are faster than the convolution."""
    batch, channels, frames = values.shape
    width, padding, each = convolution.kernel_size[0], int(convolution.padding[0]), channels // convolution.groups
    outputs = frames + 2 * padding - width + 1
    if outputs < 1:
        return False
    first, end, length = _taps(frames, outputs, width, padding)
    transforms = length * (frames * channels + outputs * convolution.out_channels)
    products = 2 * length * each * convolution.out_channels
    weights = (end - first) * length * each * convolution.out_channels
    direct = batch * outputs * width * each * convolution.out_channels
    return direct > _FEWER_OPERATIONS * (batch * (transforms + products) + weights)


def convolve(
    values: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, padding: int, groups: int
) -> torch.Tensor:
    """Return the convolution of (B, C, F), as a transposed view of contiguous (B, F', N).

    Args:
        values: (B, C, F).
        weight: (N, C / G, W).
        bias: (N,).
        padding: zeros on both sides.
        groups: G.
    """
    batch, channels, frames = values.shape
    outputs = frames + 2 * padding - weight.shape[2] + 1
    first, end, length = _taps(frames, outputs, weight.shape[2], padding)
    of_frames, of_taps, to_outputs = _transforms(frames, outputs, first - padding, end - first, length)
    spectra = of_frames @ values.transpose(1, 2).float()  # (B, 2 Q, C)
    rows = spectra.view(batch, 2, -1, groups, channels // groups).permute(2, 3, 0, 1, 4)  # (Q, G, B, 2, C / G)
    frequencies = rows.shape[0]
    rows = rows.reshape(frequencies * groups, batch, -1)
    filters = weight[:, :, first:end].float() @ of_taps  # (N, C / G, 2 Q)
    real, imaginary = filters.view(groups, -1, channels // groups, 2, frequencies).permute(3, 4, 0, 2, 1)
    # Complex numbers as pairs: (a + bi) (c + di) = (ac - bd) + (ad + bc) i.
    pairs = torch.cat([torch.cat([real, imaginary], dim=-1), torch.cat([-imaginary, real], dim=-1)], dim=-2)
    products = rows @ pairs.flatten(0, 1)  # (Q G, B, 2 N / G)
    products = products.view(frequencies, groups, batch, 2, -1).permute(2, 3, 0, 1, 4)  # (B, 2, Q, G, N / G)
    output = to_outputs @ products.reshape(batch, 2 * frequencies, -1)  # (B, F', N)
    output = output if bias is None else output + bias.float()
    return output.to(values.dtype).transpose(1, 2)


def _taps(frames: int, outputs: int, width: int, padding: int) -> tuple[int, int, int]:
    """Return the first tap that touches a frame, the end of these taps, and the length of the transforms.

    Transforms treat a signal as periodic, so they are long enough that no tap reaches a frame of the next period.
    """
    first, end = max(0, padding - outputs + 1), min(width, padding + frames)
    return first, end, max(frames + padding - first, outputs + end - 1 - padding)


@lru_cache(maxsize=64)
def _transforms(
    frames: int, outputs: int, first_shift: int, taps: int, length: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return Fourier transforms as float32 matrices.

    Args:
        frames: F.
        outputs: F'.
        first_shift: distance from an output frame to the frame that its first tap multiplies.
        taps: T.
        length: number of frames of a period.

    Returns:
        For frames (2 Q, F), for taps with conjugation (T, 2 Q), and back to output frames (F', 2 Q). Real parts of all
        frequencies come before imaginary parts.
    """
    turn = 2 * math.pi / length * torch.arange(length // 2 + 1, dtype=torch.float64)[:, None]  # (Q, 1)
    at_frames, at_outputs = (turn * torch.arange(count) for count in (frames, outputs))
    at_taps = turn * (first_shift + torch.arange(taps))
    # A real signal has each frequency twice, except for the first and, with an even length, the last.
    weights = torch.full_like(turn, 2.0 / length)
    weights[0] = 1.0 / length
    if length % 2 == 0:
        weights[-1] = 1.0 / length
    of_frames = torch.cat([at_frames.cos(), -at_frames.sin()])
    of_taps = torch.cat([at_taps.cos(), at_taps.sin()])
    to_outputs = torch.cat([weights * at_outputs.cos(), -weights * at_outputs.sin()])
    return of_frames.float(), of_taps.t().float().contiguous(), to_outputs.t().float().contiguous()
