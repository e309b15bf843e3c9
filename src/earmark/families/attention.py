"""Compute scaled dot-product attention, on a CPU with products where they are faster than torch's kernel.

torch's kernel for CPUs spends most of its time in the softmax. On an AMD EPYC with AVX512-BF16, products and oneDNN's
softmax take 40 % of its time in bfloat16, for 49 to 1,500 frames. In float32, torch's kernel is as fast.

Shapes: B batch, F frames, D width, H heads.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F

from earmark.families.dropout import dropout

_MOST_SCORES = 1 << 20  # computed at once; 2 MB for each of several tensors, which the caches of a core hold


def dot_product_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    dropout_rate: float = 0.0,
) -> torch.Tensor:
    """Return scaled dot-product attention (B, H, F, D / H), as ``F.scaled_dot_product_attention`` does.

    Args:
        query: (B, H, F, D / H).
        key: (B, H, F, D / H).
        value: (B, H, F, D / H).
        bias: bool, true for the keys to use, or a number to add to each score; broadcast to (B, H, F, F).
        dropout_rate: fraction of the attention weights that are zeroed at random, for training.
    """
    if query.device.type == "cpu" and not torch.compiler.is_compiling():
        if dropout_rate > 0:  # the same computation as torch on a CPU, with earmark's faster dropout
            scores = _biased((query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1), bias)
            return dropout(scores.softmax(dim=-1), dropout_rate, training=True) @ value
        if query.dtype == torch.bfloat16 and not torch.is_grad_enabled() and _is_for_products():
            return attention_by_products(query, key, value, bias)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout_rate)


def _biased(scores: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return scores (B, H, F, F) with the bias of :func:`dot_product_attention`."""
    if bias is None:
        return scores
    return scores.masked_fill(~bias, float("-inf")) if bias.dtype == torch.bool else scores + bias


def _is_for_products() -> bool:
    return bool(torch.backends.mkldnn.enabled) and _has_fast_products()


@cache
def _has_fast_products() -> bool:
    """Return whether this CPU multiplies bfloat16, but without AMX: torch's kernel has its own code for AMX."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    has_bf16, has_amx = (bool(getattr(torch.cpu, check, bool)()) for check in checks)
    return has_bf16 and not has_amx and torch.backends.mkldnn.is_available()


def attention_by_products(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Return what :func:`dot_product_attention` returns, for a few clips at a time, which limits the memory."""
    heads, frames = query.shape[1:3]
    num_clips = max(1, _MOST_SCORES // (heads * frames * frames))
    tensors = [query, key, value] if bias is None else [query, key, value, bias.expand(len(query), *bias.shape[-3:])]
    parts = zip(*(tensor.split(num_clips) for tensor in tensors), strict=True)
    outputs = [_attention_of_clips(*part) for part in parts]
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _attention_of_clips(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    shape = query.shape
    query, key, value = (tensor.flatten(0, 1) for tensor in (query, key, value))  # (B * H, F, D / H)
    # beta=0 ignores the first argument.
    scores = torch.baddbmm(query.new_empty(1), query, key.transpose(1, 2), beta=0, alpha=shape[-1] ** -0.5)
    scores = _biased(scores.unflatten(0, shape[:2]), bias).flatten(0, 1)
    weights = scores.to_mkldnn().softmax(-1).to_dense()
    return torch.bmm(weights, value).unflatten(0, shape[:2])
