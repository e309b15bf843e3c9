"""Label recordings with plain Transformers: ``pipeline("audio-classification")`` over a folder.

    python benchmarks/plain_predict.py MODEL FOLDER

This is the reference of ``compare.py predict``. The pipeline gets samples, because it would need FFmpeg to read files.
The last line of the output is JSON. Its seconds are the time of decoding and scoring, without loading the model and
choosing the batch size.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from plain_common import accuracy_by_folder, peak_memory_bytes, print_results, read_recording, recordings_in

BATCH_SIZES = (1, 4, 8, 16, 32)


def label_all(pipe: Any, paths: Sequence[Path], batch_size: int) -> list[str]:
    """Return the most likely label of each recording, in order."""
    rate_hz = pipe.feature_extractor.sampling_rate

    def clips() -> Iterator[dict[str, Any]]:
        for path in paths:
            yield {"raw": read_recording(path, rate_hz), "sampling_rate": rate_hz}

    return [answer[0]["label"] for answer in pipe(clips(), batch_size=batch_size, top_k=1)]


def fastest_batch_size(pipe: Any, paths: Sequence[Path]) -> int:
    """Try each of ``BATCH_SIZES`` on the same recordings, and return the fastest."""
    label_all(pipe, paths[:4], 1)  # warm-up
    seconds: dict[int, float] = {}
    for size in BATCH_SIZES:
        start = time.perf_counter()
        label_all(pipe, paths, size)
        seconds[size] = time.perf_counter() - start
        print(f"batch size {size}: {len(paths) / seconds[size]:.1f} clips/s", file=sys.stderr)
    best = min(seconds, key=lambda size: seconds[size])
    print(f"using batch size {best}", file=sys.stderr)
    return best


def batch_size(text: str) -> int | None:
    """Return the number in ``text``, or ``None`` for ``best``."""
    return None if text == "best" else int(text)


def main() -> None:
    """Label the recordings and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="run folder, checkpoint folder or name on the hub")
    parser.add_argument("folders", nargs="+", type=Path, metavar="folder", help="folder of recordings")
    sizes = ", ".join(map(str, BATCH_SIZES))
    parser.add_argument(
        "--batch_size",
        type=batch_size,
        default="best",
        help=f"a number, or best for the fastest of {sizes} (default: %(default)s)",
    )
    parser.add_argument(
        "--tuning_clips", type=int, default=64, help="recordings to try batch sizes on (default: %(default)s)"
    )
    parser.add_argument("--device", default=None, help="cpu, cuda, ... (default: the pipeline's choice)")
    dtypes = ["float32", "bfloat16", "float16"]
    parser.add_argument("--dtype", default="float32", choices=dtypes, help="type of the weights")
    args = parser.parse_args()
    paths = [path for folder in args.folders for path in recordings_in(folder)]
    dtype = getattr(torch, args.dtype)
    pipe = transformers.pipeline("audio-classification", model=args.model, device=args.device, dtype=dtype)
    # evenly spread, so that all class folders and lengths are included
    some = paths[:: max(1, len(paths) // args.tuning_clips)][: args.tuning_clips]
    tuning_start = time.perf_counter()
    size = args.batch_size or fastest_batch_size(pipe, some)
    start, cpu_start = time.perf_counter(), time.process_time()
    labels = label_all(pipe, paths, size)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    print_results(
        {
            "clips": len(paths),
            "predict_seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "clips_per_second": len(paths) / seconds,
            "batch_size": size,
            "tuning_seconds": start - tuning_start,
            "accuracy": accuracy_by_folder(zip(map(str, paths), labels, strict=True)),
            "peak_memory_bytes": peak_memory_bytes(),
            "device": str(pipe.device),
        }
    )


if __name__ == "__main__":
    main()
