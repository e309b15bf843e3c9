"""Measure how fast a device multiplies matrices."""

from __future__ import annotations

import math
import time

import torch

_SMALLEST_MATRIX, _LARGEST_MATRIX = 512, 8192
_RUNS = 3
_LEAST_RUN_S = 0.02  # long compared with starting work on a device and waiting for it
_LONG_PRODUCT_S = 0.03  # larger matrices do not reach a higher rate


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    torch.get_device_module(device).synchronize()


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Measure the operations per second of square matrix products: the best of several sizes and runs."""
    best, size = 0.0, _SMALLEST_MATRIX
    while size <= _LARGEST_MATRIX:
        left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        _product_s(left, right, 1)  # the first product chooses the algorithm
        repeats = max(1, math.ceil(_LEAST_RUN_S / _product_s(left, right, 1)))
        product_s = min(_product_s(left, right, repeats) for _ in range(_RUNS))
        best = max(best, 2 * size**3 / product_s)
        if product_s > _LONG_PRODUCT_S:
            break
        size *= 2
    return best


def _product_s(left: torch.Tensor, right: torch.Tensor, repeats: int) -> float:
    """Return the seconds of one product, measured over ``repeats`` products in a row."""
    synchronize(left.device)
    begun = time.perf_counter()
    for _ in range(repeats):
        torch.mm(left, right)
    synchronize(left.device)
    return (time.perf_counter() - begun) / repeats
