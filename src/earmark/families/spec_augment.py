"""SpecAugment on the device: which frames of each clip are hidden in training.

Transformers draws these spans with numpy, one clip at a time, and copies the result to the device: a stop of the
device at every step. Here they are drawn where the clips are, in shapes that depend on nothing but the batch's.

Shapes: B batch, L positions (frames or features), S spans.
"""

from __future__ import annotations

import torch


def draw_spans(
    num_valid: torch.Tensor, length: int, *, mask_prob: float, mask_length: int, min_masks: int = 0
) -> torch.Tensor:
    """Random spans in each row, bool (B, L), with the distribution of Transformers' ``_compute_mask_indices``.

    A row of ``n`` valid positions gets ``mask_prob * n / mask_length`` spans of ``mask_length`` positions, rounded up
    or down at random, all rows alike; at least ``min_masks`` where they fit. Spans start at different positions and may
    overlap (Baevski et al. 2020, arXiv:2006.11477, section 4.2).

    Args:
        num_valid: valid positions in each row, int64 (B,); no span reaches past them.
        length: L.
        mask_prob: share of positions that would be hidden if no spans overlapped.
        mask_length: positions in a span.
        min_masks: fewest spans in a row.
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
    # the positions of the S largest of L random numbers are S different positions
    order = torch.rand(len(num_valid), length, device=device).masked_fill(position >= starts_possible[:, None], -1.0)
    starts = order.topk(most, dim=1).indices  # (B, S)
    used = torch.arange(most, device=device) < wanted[:, None]  # (B, S)
    inside = (position >= starts[..., None]) & (position < starts[..., None] + mask_length)  # (B, S, L)
    return (inside & used[..., None]).any(dim=1)
