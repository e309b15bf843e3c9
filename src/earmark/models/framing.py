"""Overlapping frames of a waveform: a view where it runs, a gather where it is exported.

Shapes: B batch, T samples, F frames, W samples of a frame.
"""

from __future__ import annotations

import torch


def frames_of(samples: torch.Tensor, window: int, hop: int) -> torch.Tensor:
    """Whole frames (B, F, W) of samples (B, T), ``hop`` apart."""
    if not torch.compiler.is_compiling():
        return samples.unfold(-1, window, hop)
    # `unfold` asks torch.export whether its overlapping rows are contiguous, which depends on T, and becomes a loop in
    # ONNX; indices become one gather
    count = (samples.shape[-1] - window) // hop + 1
    starts = torch.arange(count, device=samples.device)[:, None] * hop
    return samples[:, starts + torch.arange(window, device=samples.device)]
