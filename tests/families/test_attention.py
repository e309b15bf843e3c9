"""Attention on a CPU by products gives the results of torch's kernel, and is used only for scoring in bfloat16."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from earmark.families import attention as attention_module
from earmark.families.attention import attention_by_products, dot_product_attention
from earmark.models.convolutions import relative_error

CLIPS, HEADS, FRAMES, WIDTH = 3, 4, 37, 16
SHAPE = (CLIPS, HEADS, FRAMES, WIDTH)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def valid_keys() -> torch.Tensor:
    return (torch.arange(FRAMES) < torch.tensor([37, 20, 1])[:, None])[:, None, None]  # (B, 1, 1, F)


BIASES: dict[str, Callable[[], torch.Tensor | None]] = {
    "none": lambda: None,
    "valid keys": valid_keys,
    "numbers for each clip": lambda: draw(CLIPS, HEADS, FRAMES, FRAMES, seed=9).masked_fill(~valid_keys(), -torch.inf),
    "numbers for all clips": lambda: draw(HEADS, FRAMES, FRAMES, seed=9),
}


@pytest.mark.parametrize("most_scores", [1, 2 * HEADS * FRAMES**2, 1 << 22], ids=["single", "in two parts", "at once"])
@pytest.mark.parametrize("bias", BIASES)
def test_products_give_attention(bias: str, most_scores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if not getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", bool)():
        pytest.skip("oneDNN has no bfloat16 on this CPU")
    monkeypatch.setattr(attention_module, "_MOST_SCORES", most_scores)
    # laid out as the projections of the families return them
    query, key, value = (draw(CLIPS, FRAMES, HEADS, WIDTH, seed=i).transpose(1, 2) for i in range(3))
    numbers = BIASES[bias]()
    with torch.no_grad():
        given = attention_by_products(query, key, value, numbers)
        wide = numbers.float() if numbers is not None and numbers.dtype != torch.bool else numbers
        exact = F.scaled_dot_product_attention(query.float(), key.float(), value.float(), attn_mask=wide)
    assert given.dtype == torch.bfloat16
    assert given.shape == SHAPE
    assert relative_error(given.float(), exact) < 0.01


@pytest.mark.parametrize("has_fast_products", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("gradients", [False, True])
def test_products_are_only_for_scoring_in_bfloat16(
    has_fast_products: bool, dtype: torch.dtype, gradients: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    products: list[torch.dtype] = []

    def by_products(query: torch.Tensor, *_: object) -> torch.Tensor:
        products.append(query.dtype)
        return query

    monkeypatch.setattr(attention_module, "_has_fast_products", lambda: has_fast_products)
    monkeypatch.setattr(attention_module, "attention_by_products", by_products)
    tensors = [draw(*SHAPE, seed=i).to(dtype) for i in range(3)]
    with torch.set_grad_enabled(gradients):
        dot_product_attention(*tensors)
    is_expected = has_fast_products and dtype == torch.bfloat16 and not gradients
    assert products == ([torch.bfloat16] if is_expected else [])
