"""Measure how fast earmark's inference loop scores decoded clips (``earmark bench infer``)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from earmark.bench.bench_setup import BenchClips, build_model
from earmark.bench.flops import Shapes, flop_of_clip
from earmark.bench.timing import DTYPES, Compute, Memory, Rate, forget_device_peak, peak_memory
from earmark.heap import freed_memory_kept
from earmark.models.build_model import AudioModel
from earmark.models.frontend import Frontend
from earmark.profiling.matmul_peak import matmul_peak
from earmark.profiling.profiled_scoring import profiled_scoring
from earmark.progress import Progress
from earmark.scoring.inference import score
from earmark.scoring.torch_scorer import TorchScorer
from earmark.settings.bench_flags import BenchOptions


@dataclass(frozen=True)
class InferMeasurements:
    """Speed of inference.

    Attributes:
        audio: the model.
        rate: clips per second over the timed passes; samples come from the store.
        compute: operations of the timed passes.
        memory: peak memory.
    """

    audio: AudioModel
    rate: Rate
    compute: Compute
    memory: Memory


def bench_infer(options: BenchOptions, clips: BenchClips, device: torch.device) -> InferMeasurements:
    """Score one batch to warm up, then time the scoring of all clips.

    Raises:
        ModelError: the model cannot be built.
    """
    dtype = DTYPES[options.precision]
    audio = build_model(options, clips)
    audio.model.to(device)
    forget_device_peak(device)
    frontend = _NotingFrontend(audio.frontend)

    scorer = TorchScorer(audio.model, frontend, device, None if dtype == torch.float32 else dtype)

    def score_rows(rows: np.ndarray) -> None:
        assert options.batch_size is not None, "settled by BenchOptions"
        for _ in score(scorer, clips.usable.waveforms.iterate(rows), batch_size=options.batch_size):
            progress.update(1)

    rows = np.random.default_rng(options.seed).permutation(len(clips))
    with Progress("scoring", None) as progress, scorer.session(), freed_memory_kept():
        score_rows(rows[: options.batch_size])
        frontend.shapes = Shapes()
        begun = time.perf_counter()
        for _ in range(options.passes):
            score_rows(rows)  # returns logits on the CPU, so the device has finished
        seconds = time.perf_counter() - begun
        memory, shapes = peak_memory(device), frontend.shapes
        if options.profile is not None:
            with profiled_scoring(scorer, options.profile, options.profile_folder) as profile:
                while profile.is_open:
                    score_rows(rows)

    def flop_of_width(width: int) -> int:
        return flop_of_clip(audio, {"samples": torch.zeros(1, width)}, device, dtype, backward=False)

    flop, peak = shapes.flop(flop_of_width), matmul_peak(device, dtype)
    return InferMeasurements(
        audio=audio,
        rate=Rate(options.passes * len(clips), options.passes * float(clips.lengths_s.sum()), seconds),
        compute=Compute(flop, shapes.useful_share, seconds, peak, dtype),
        memory=memory,
    )


class _NotingFrontend(Frontend):
    """A frontend that records the shapes of the batches that it packs."""

    def __init__(self, frontend: Frontend) -> None:
        vars(self).update(vars(frontend))
        self.shapes = Shapes()

    def pack(self, waveforms: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Do the same as :meth:`Frontend.pack`, and record the shape."""
        samples, num_samples = super().pack(waveforms)
        clips, width = samples.shape
        own = clips * width if num_samples is None else int(num_samples.sum())
        self.shapes.add(clips, self.max_samples if self.pads_itself else width, own)
        return samples, num_samples
