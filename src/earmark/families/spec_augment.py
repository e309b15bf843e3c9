"""Draw the masked spans of SpecAugment on the device.

Transformers draws these spans with NumPy, one clip at a time, and copies the result to the device, which has to wait
at every step. Here they are drawn on the device, in shapes that depend only on the shape of the batch.

Shapes: B batch, L positions (frames or features), S spans.
"""

from __future__ import annotations

import torch


def draw_spans(
    num_valid: torch.Tensor, length: int, *, mask_prob: float, mask_length: int, min_masks: int = 0
) -> torch.Tensor:
    """Return random spans in each row, bool (B, L), distributed as in Transformers' ``_compute_mask_indices``.

    A row of ``n`` valid positions gets ``mask_prob * n / mask_length`` spans of ``mask_length`` positions, randomly
    rounded up or down in the same way for all rows, and at least ``min_masks`` if they fit. Spans start at different
    positions and may overlap (Baevski et al. 2020, arXiv:2006.11477, section 4.2).

    Args:
        num_valid: number of valid positions in each row, int64 (B,); spans stay within them.
        length: L.
        mask_prob: fraction of positions that would be masked if spans did not overlap.
        mask_length: positions in a span.
        min_masks: minimum number of spans in a row.
    """
    device = num_valid.device
    most = max(int(mask_prob * length / mask_length + 1), min_masks)
    most = min(most, length // mask_length)
    if most < 1:
        return torch.zeros(len(num_valid), length, dtype=torch.bool, device=device)
    rounding = torch.rand((), device=device)
    wanted = (mask_prob * num_valid / mask_length + rounding).long().clamp(min=min_masks, max=most)  # (B,)
    starts_possible = (num_valid - (mask_length - 1)).clamp(min=0)
    wanted = torch.minimum(wanted, starts_possible)
    position = torch.arange(length, device=device)
    # The positions of the S largest of L random numbers are S different random positions.
    order = torch.rand(len(num_valid), length, device=device).masked_fill(position >= starts_possible[:, None], -1.0)
    starts = order.topk(most, dim=1).indices  # (B, S)
    used = torch.arange(most, device=device) < wanted[:, None]  # (B, S)
    inside = (position >= starts[..., None]) & (position < starts[..., None] + mask_length)  # (B, S, L)
    return (inside & used[..., None]).any(dim=1)
