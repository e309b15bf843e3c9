"""Dropout with faster random numbers on a CPU.

torch draws one number per element from a Mersenne twister, which takes a sixth of a training step of wav2vec2-base.
Here, one 64-bit number decides which of four elements are kept, so the drop rate is exact to 1 in 65,536. The numbers
come from a generator of NumPy that torch's generator seeds, so a resumed run draws the same numbers.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

_LEVELS = 1 << 16
_LARGEST_P = 1 - 1 / 1024  # above it, the rounding of the drop rate changes the scale by more than 1 %


def dropout(values: torch.Tensor, p: float, training: bool) -> torch.Tensor:
    """Zero a random fraction ``p`` of ``values`` (any shape, floating point) and scale the rest by ``1 / (1 - p)``."""
    if not training or p == 0.0:
        return values
    if values.device.type != "cpu" or torch.compiler.is_compiling() or p > _LARGEST_P:
        return F.dropout(values, p)
    return values * _keep(values, p)


def _keep(values: torch.Tensor, p: float) -> torch.Tensor:
    """Return factors in the shape and type of ``values``: 0 for a fraction ``p``, else ``1 / (1 - p)``."""
    dropped, count = round(p * _LEVELS), values.numel()
    scale = _LEVELS / (_LEVELS - dropped)
    generator = np.random.SFC64(int(torch.randint(2**62, ())))  # four times as fast as torch's, which seeds it
    draws = torch.from_numpy(generator.random_raw(-(-count // 4)).view(np.int16))[:count].view(values.shape)
    kept = draws.ge_(dropped - _LEVELS // 2)  # 0 or 1; each 16-bit quarter is uniform
    if values.dtype.itemsize != draws.dtype.itemsize:
        return kept.to(values.dtype).mul_(scale)
    # In 16-bit types, the product of 0 or 1 with the bits of the scale is the factor, without a conversion.
    bits: torch.Tensor = kept.mul_(torch.tensor(scale, dtype=values.dtype).view(torch.int16))
    return bits.view(values.dtype)
