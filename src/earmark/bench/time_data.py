"""Measure how fast recordings become batches (``earmark bench data``).

Batches come from the int16 store in this process, from the store through DataLoader workers, and from recordings that
are decoded each time.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from earmark.audio.reading import decoder_threads
from earmark.batch.buckets import BucketSampler, bucket_edges
from earmark.batch.dataset import TrainingClips, one_batch
from earmark.bench.bench_clips import RATE_HZ
from earmark.bench.bench_setup import BenchClips, decode
from earmark.bench.timing import Rate
from earmark.clips.clip import ClipTable
from earmark.clips.targets import table_targets
from earmark.settings.bench_flags import BenchOptions
from earmark.store.decoding import DecodedWaveforms

_LEAST_S = 1.0  # shortest time to measure each way to make batches
_WARM_UP_BATCHES = 8


@dataclass(frozen=True)
class DataMeasurements:
    """Speed of the data pipeline.

    Attributes:
        clips: clips that were measured.
        build: from recordings to the store.
        in_process: from the store to batches, in this process.
        through_workers: from the store to batches, through DataLoader workers.
        decoding: from recordings to batches, decoding each time.
        to_device: from the store to batches on an accelerator, through page-locked memory; ``None`` on a CPU.
    """

    clips: BenchClips
    build: Rate
    in_process: Rate
    through_workers: Rate
    decoding: Rate
    to_device: Rate | None


def bench_data(options: BenchOptions, table: ClipTable, store_dir: Path, device: torch.device) -> DataMeasurements:
    """Build the store and measure all ways to make batches.

    Args:
        options: batch size, workers, buckets.
        table: recordings.
        store_dir: folder for the store.
        device: where batches are copied to, if it is an accelerator.

    Raises:
        DataError: a recording cannot be read or is too short.
        OutputError: the store cannot be written.
    """
    begun = time.perf_counter()
    clips = decode(table, RATE_HZ, store_dir)
    build = Rate(len(clips), float(clips.lengths_s.sum()), time.perf_counter() - begun)
    stored = _training_clips(options, clips)
    again = DecodedWaveforms(
        clips.usable.table, clips.usable.waveforms.num_samples, RATE_HZ, num_threads=decoder_threads(None)
    )
    decoded = _training_clips(options, replace(clips, usable=replace(clips.usable, waveforms=again)))

    def through(num_workers: int, *, pin_memory: bool = False) -> Iterable[dict[str, torch.Tensor]]:
        rows = _Rows(options, stored)
        return DataLoader(
            stored, batch_sampler=rows, num_workers=num_workers, collate_fn=one_batch, pin_memory=pin_memory
        )

    pinned = through(0, pin_memory=device.type != "cpu")
    copied = ({name: value.to(device, non_blocking=True) for name, value in batch.items()} for batch in pinned)
    return DataMeasurements(
        clips=clips,
        build=build,
        in_process=_timed(map(stored.__getitems__, _Rows(options, stored))),
        through_workers=_timed(through(options.num_workers)),
        decoding=_timed(map(decoded.__getitems__, _Rows(options, decoded))),
        to_device=None if device.type == "cpu" else _timed(copied),
    )


def _training_clips(options: BenchOptions, clips: BenchClips) -> TrainingClips:
    dataset = TrainingClips(
        clips.usable.waveforms,
        table_targets(clips.usable.table, clips.usable.table.labels()),
        min_samples=1,
        max_samples=round(clips.longest_s(options.max_length_seconds) * clips.sampling_rate_hz),
    )
    if options.bucket_waste < 1 and dataset.lengths.min() < dataset.lengths.max():
        dataset.edges = bucket_edges(dataset.lengths, options.bucket_waste)
    return dataset


class _Rows:
    """Endless batches of row numbers, shuffled as in training."""

    def __init__(self, options: BenchOptions, clips: TrainingClips) -> None:
        assert options.batch_size is not None, "settled by BenchOptions"
        self.batch_size = options.batch_size
        edges = clips.lengths.max(keepdims=True) if clips.edges is None else clips.edges
        self.sampler = BucketSampler(clips.lengths, edges, self.batch_size, seed=options.seed)

    def __iter__(self) -> Iterator[list[int]]:
        epoch = 0
        while True:
            self.sampler.set_epoch(epoch)
            rows = list(self.sampler)
            for start in range(0, len(rows), self.batch_size):
                yield rows[start : start + self.batch_size]
            epoch += 1


def _timed(batches: Iterable[dict[str, torch.Tensor]]) -> Rate:
    """Time batches for at least one second, after a few untimed ones."""
    clips = samples = 0
    begun = 0.0
    for i, batch in enumerate(batches):
        if i < _WARM_UP_BATCHES:
            begun = time.perf_counter()
            continue
        clips += len(batch["labels"])
        samples += _own_samples(batch)
        seconds = time.perf_counter() - begun
        if seconds >= _LEAST_S:
            return Rate(clips, samples / RATE_HZ, seconds)
    raise AssertionError("the batches are endless")


def _own_samples(batch: dict[str, torch.Tensor]) -> int:
    lengths = batch.get("num_samples")
    return batch["samples"].numel() if lengths is None else int(np.asarray(lengths).sum())
