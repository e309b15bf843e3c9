"""Compare earmark's windows over a long recording with a loop over Transformers' pipeline, in turn, in one process.

    python benchmarks/long.py MODEL --window_seconds 1 --hours 1

The script generates the recording: noise with tones, 16 kHz, a WAV file. The loop reads one window at a time and calls
``pipeline("audio-classification")``, as users of the pipeline do. It scores only the first ``--plain_seconds`` of the
recording in each round, because its speed does not depend on the length. Both compute in float32 on the CPU.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from transformers import pipeline

import earmark
import earmark.models.tc_resnet  # so that plain Transformers can load a TC-ResNet

RATE_HZ = 16_000


def main() -> None:
    """Run rounds of both, and print their speeds and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="run folder or model folder")
    parser.add_argument("--window_seconds", type=float, default=1.0)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--plain_seconds", type=float, default=120.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", default="fp32")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.wav"
        write_recording(path, asked.hours * 3600)
        classifier = earmark.Classifier.from_pretrained(asked.model, device="cpu", precision=asked.precision)
        plain = pipeline("audio-classification", model=asked.model, device="cpu")
        ours(classifier, path, asked.window_seconds, stop_s=30)
        loop(plain, path, asked.window_seconds, stop_s=5)
        ratios = []
        for number in range(asked.rounds):
            theirs_x = loop(plain, path, asked.window_seconds, stop_s=asked.plain_seconds)
            ours_x = ours(classifier, path, asked.window_seconds)
            ratios.append(ours_x / theirs_x)
            speeds = f"pipeline loop {theirs_x:.0f}x, earmark {ours_x:.0f}x real time"
            print(f"round {number + 1}: {speeds}, {ratios[-1]:.1f} to 1")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"median {statistics.median(ratios):.1f} to 1 ({min(ratios):.1f} to {max(ratios):.1f})")
    print(f"peak memory {peak_mb:.0f} MB, {torch.get_num_threads()} threads")


def write_recording(path: Path, seconds: float) -> None:
    """Write noise with a tone that changes every minute."""
    rng = np.random.default_rng(0)
    time_s = np.arange(60 * RATE_HZ) / RATE_HZ
    with soundfile.SoundFile(path, "w", RATE_HZ, 1) as file:
        for _ in range(max(1, round(seconds / 60))):
            tone = 0.2 * np.sin(2 * np.pi * rng.uniform(200, 4000) * time_s)
            file.write((tone + 0.05 * rng.standard_normal(len(time_s))).astype(np.float32))


def ours(classifier: earmark.Classifier, path: Path, window_s: float, stop_s: float = float("inf")) -> float:
    """Score windows with earmark; return seconds of audio per second."""
    start = time.perf_counter()
    scored_s = 0.0
    for window in classifier.iter_windows(path, window_seconds=window_s):
        scored_s = window.end_s
        if scored_s >= stop_s:
            break
    return scored_s / (time.perf_counter() - start)


def loop(plain: Any, path: Path, window_s: float, stop_s: float) -> float:
    """Score windows with the pipeline; return seconds of audio per second."""
    start = time.perf_counter()
    scored_s = 0.0
    for block in soundfile.blocks(path, blocksize=round(window_s * RATE_HZ), dtype="float32"):
        plain({"raw": block, "sampling_rate": RATE_HZ}, top_k=1)
        scored_s += len(block) / RATE_HZ
        if scored_s >= stop_s:
            break
    return scored_s / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
