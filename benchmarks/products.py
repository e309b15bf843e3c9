"""Measure matrix products on this CPU: torch in float32, oneDNN with packed float32 weights, and torch in bfloat16.

    python benchmarks/products.py

The sizes occur in the encoders of Whisper-tiny (32 clips of one second) and wav2vec2-base (8 clips), and in a log-mel
spectrogram. The three products are computed in turn, a hundred times, and the table has the medians.
"""

from __future__ import annotations

import statistics
import time

import torch
import torch.nn.functional as F

SIZES = [(1600, 384, 384), (1600, 384, 1536), (1600, 1536, 384), (400, 768, 3072), (3136, 400, 402), (1, 384, 1536)]


def main() -> None:
    """Print the GFLOP/s of each size."""
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}")
    print("| rows x inputs x outputs | torch, float32 | packed | times | torch, bfloat16 |\n|---|---|---|---|---|")
    with torch.inference_mode():
        for size in SIZES:
            plain, packed, half = rates(*size)
            print(f"| {' x '.join(map(str, size))} | {plain:.0f} | {packed:.0f} | {packed / plain:.2f} | {half:.0f} |")


def rates(num_rows: int, inputs: int, outputs: int) -> list[float]:
    """Return the GFLOP/s of torch in float32, of packed weights, and of torch in bfloat16."""
    rows, weight, bias = torch.randn(num_rows, inputs), torch.randn(outputs, inputs), torch.randn(outputs)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight)
    halves = [tensor.bfloat16() for tensor in (rows, weight, bias)]
    ways = [
        lambda: F.linear(rows, weight, bias),
        lambda: torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], ""),
        lambda: F.linear(*halves),
    ]
    seconds: list[list[float]] = [[] for _ in ways]
    for _ in range(100):
        for way, taken in zip(ways, seconds, strict=True):
            begun = time.perf_counter()
            way()
            taken.append(time.perf_counter() - begun)
    return [2 * num_rows * inputs * outputs / statistics.median(taken) / 1e9 for taken in seconds]


if __name__ == "__main__":
    main()
