"""Measure matrix products on this CPU: torch's own and oneDNN's with packed weights, in float32 and in bfloat16.

    python benchmarks/products.py

The sizes occur in the encoders of Whisper-tiny (32 clips of one second) and wav2vec2-base (8 clips), and in a log-mel
spectrogram. The two products of a type are computed in turn, a hundred times, and the table has the medians.
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
    print("| rows x inputs x outputs | torch, float32 | packed | times | torch, bfloat16 | packed | times |")
    print("|---|---|---|---|---|---|---|")
    with torch.inference_mode():
        for size in SIZES:
            figures = []
            for dtype in (torch.float32, torch.bfloat16):
                plain, packed = rates(*size, dtype)
                figures += [f"{plain:.0f}", f"{packed:.0f}", f"{packed / plain:.2f}"]
            print("| " + " | ".join([" x ".join(map(str, size)), *figures]) + " |")


def rates(num_rows: int, inputs: int, outputs: int, dtype: torch.dtype) -> list[float]:
    """Return the GFLOP/s of torch's own product and of the packed one."""
    rows, weight, bias = (
        torch.randn(*shape).to(dtype) for shape in ((num_rows, inputs), (outputs, inputs), (outputs,))
    )
    packed = torch.ops.mkldnn._reorder_linear_weight(weight)
    ways = [
        lambda: F.linear(rows, weight, bias),
        lambda: torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], ""),
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
