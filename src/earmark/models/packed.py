"""Speed up products with constant weights on x86 CPUs by packing the weights once for oneDNN.

torch multiplies float32 matrices with MKL, whose AVX-512 code runs only on Intel's processors. On an AMD EPYC with
AVX-512, oneDNN with packed weights takes less than half the time (``benchmarks/products.py``). ``torch.compile`` uses
the same operators for frozen weights.

Shapes: R rows, K inputs, N outputs.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from earmark.families.spectra import Product

_FEWEST_ROWS = 8  # for fewer rows, the call costs more than the product


def can_pack(device: torch.device) -> bool:
    """Return whether packing helps: on an x86 CPU, with a torch with oneDNN that is not switched off."""
    if device.type != "cpu" or platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    operators = torch.ops.mkldnn
    has_operators = hasattr(operators, "_linear_pointwise") and hasattr(operators, "_reorder_linear_weight")
    return has_operators and torch.backends.mkldnn.is_available() and torch._C._get_mkldnn_enabled()


class PackedProducts:
    """The float32 products of linear layers and of :class:`Product`, whose weights are packed at first use.

    A changed weight is packed again. With gradients or autocast, the modules compute as usual.

    Args:
        *roots: modules to search.
    """

    def __init__(self, *roots: nn.Module) -> None:
        modules = [module for root in roots for module in root.modules()]
        self._linears = [module for module in modules if type(module) is nn.Linear]
        self._products = [module for module in modules if type(module) is Product]
        self._packed: dict[nn.Module, tuple[torch.Tensor, int, torch.Tensor]] = {}

    @contextmanager
    def used(self) -> Iterator[None]:
        """Let the modules compute with packed weights in this context."""
        for linear in self._linears:
            linear.forward = partial(self._linear, linear)  # type: ignore[method-assign]
        for product in self._products:
            product.forward = partial(self._product, product)  # type: ignore[method-assign]
        try:
            yield
        finally:
            for module in (*self._linears, *self._products):
                del module.forward

    def forget(self) -> None:
        """Free the packed weights; they are packed again at the next call."""
        self._packed.clear()

    def _linear(self, module: nn.Linear, rows: torch.Tensor) -> torch.Tensor:
        if not _is_for_packing(rows, module.weight):
            return F.linear(rows, module.weight, module.bias)
        return _multiply(rows, self._pack(module, module.weight), module.bias)

    def _product(self, module: nn.Module, rows: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        if not _is_for_packing(rows, matrix):
            return rows @ matrix
        return _multiply(rows, self._pack(module, matrix, transposed=True), None)

    def _pack(self, module: nn.Module, weight: torch.Tensor, transposed: bool = False) -> torch.Tensor:
        known = self._packed.get(module)
        # Keep the packed weight's memory, so that no other weight can get its address.
        if known is None or known[0].data_ptr() != weight.data_ptr() or known[1] != weight._version:
            laid_out = weight.detach().t().contiguous() if transposed else weight.detach()
            packed = torch.ops.mkldnn._reorder_linear_weight(laid_out)
            known = self._packed[module] = (weight.detach(), weight._version, packed)
        return known[2]


def _is_for_packing(rows: torch.Tensor, weight: torch.Tensor) -> bool:
    if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
        return False
    return rows.dtype == weight.dtype == torch.float32 and rows.numel() >= _FEWEST_ROWS * rows.shape[-1]


def _multiply(rows: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None) -> Any:
    return torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")
