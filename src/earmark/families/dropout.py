"""Dropout that does not wait for the random numbers.

On a CPU torch draws one number after another from a Mersenne twister, which takes a sixth of a training step of
wav2vec2-base. One 64-bit draw decides about four elements here; the drop rate is then exact to 1 in 65,536.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

_LEVELS = 1 << 16


def dropout(values: torch.Tensor, p: float, training: bool) -> torch.Tensor:
    """Zero a random share ``p`` of ``values`` (any shape, floating point) and scale the rest by ``1 / (1 - p)``."""
    if not training or p == 0.0:
        return values
    if values.device.type != "cpu" or torch.compiler.is_compiling() or p == 1.0:
        return F.dropout(values, p)
    return values * _keep(values, p)


def _keep(values: torch.Tensor, p: float) -> torch.Tensor:
    """Factors of the shape and type of ``values``: 0 for a share ``p``, else ``1 / (1 - p)``."""
    dropped = round(p * _LEVELS)
    count = values.numel()
    # random_ over the whole range of int64: all of its 16-bit quarters are uniform
    draws = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    kept = draws.view(torch.int16)[:count] >= dropped - _LEVELS // 2
    return kept.view(values.shape).to(values.dtype).mul_(_LEVELS / max(_LEVELS - dropped, 1))
