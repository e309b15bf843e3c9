from __future__ import annotations

import pytest
import torch
from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices

from earmark.families.spec_augment import draw_spans


@pytest.mark.parametrize(
    ("length", "valid", "prob", "span", "least"),
    [
        (49, 49, 0.05, 10, 2),
        (49, 30, 0.05, 10, 2),
        (499, 499, 0.65, 10, 2),
        (499, 200, 0.65, 10, 0),
        (40, 12, 0.3, 4, 1),
    ],
)
def test_masks_as_much_as_transformers(length: int, valid: int, prob: float, span: int, least: int) -> None:
    torch.manual_seed(0)
    rows, draws = 200, 20
    mask = torch.zeros(rows, length, dtype=torch.long)
    mask[:, :valid] = 1
    theirs = [_compute_mask_indices((rows, length), prob, span, mask, least).mean() for _ in range(draws)]
    num_valid = torch.full((rows,), valid)
    ours = [
        draw_spans(num_valid, length, mask_prob=prob, mask_length=span, min_masks=least).float().mean().item()
        for _ in range(draws)
    ]
    assert sum(ours) / draws == pytest.approx(sum(theirs) / draws, rel=0.03)


def test_spans_lie_inside_the_clip_and_are_whole() -> None:
    torch.manual_seed(1)
    num_valid = torch.tensor([30, 12, 5, 4])
    masked = draw_spans(num_valid.repeat(50), 40, mask_prob=0.4, mask_length=5, min_masks=1)
    for row, valid in zip(masked, num_valid.repeat(50), strict=True):
        assert not row[valid:].any()
        if valid >= 5:
            assert row.sum() >= 5
        else:
            assert not row.any()


def test_every_position_is_hidden_now_and_then() -> None:
    torch.manual_seed(2)
    masked = draw_spans(torch.full((2_000,), 20), 20, mask_prob=0.2, mask_length=3)
    share = masked.float().mean(0)
    assert share.min() > 0.02
    assert share[5:15].std() < 0.03


def test_a_row_shorter_than_a_span_everywhere() -> None:
    assert not draw_spans(torch.tensor([2, 3]), 3, mask_prob=0.5, mask_length=5).any()
