"""Prepare a table of clips for training: targets, length limits, length buckets, batches."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler, SequentialSampler

from earmark.batch.augment import AugmentedClips
from earmark.batch.balanced import BalancedSampler
from earmark.batch.buckets import BucketSampler, bucket_edges, padded_share
from earmark.batch.dataset import TrainingClips
from earmark.batch.workers import begin_worker
from earmark.clips.targets import table_targets
from earmark.models.build_model import AudioModel
from earmark.store.usable import UsableClips

logger = logging.getLogger(__name__)


def training_clips(audio: AudioModel, clips: UsableClips, *, seed: int = 0) -> TrainingClips:
    """Return the clips in the form in which ``audio`` is trained on them; ``seed`` chooses the crops."""
    frontend = audio.frontend
    targets = table_targets(clips.table, audio.labels, audio.task)
    if (unit := audio.model.forward.unit) is not None:  # the loss expects standardised numbers
        mean, deviation = unit
        targets = (targets - np.float32(mean)) / np.float32(deviation)
    return TrainingClips(
        clips.waveforms,
        targets,
        min_samples=frontend.min_samples,
        max_samples=frontend.max_samples,
        seed=seed,
    )


def fill_buckets(dataset: TrainingClips, audio: AudioModel, bucket_waste: float) -> None:
    """Add length buckets to clips if they save work, or if augmentation changes the lengths.

    If augmentation changes lengths, buckets use the greatest length of each clip.
    """
    changes = isinstance(dataset, AugmentedClips) and dataset.changes_lengths
    differ = bool(dataset.lengths.min() < dataset.lengths.max())
    if bucket_waste >= 1 or audio.frontend.pads_itself or not (differ or changes):
        return
    dataset.edges = bucket_edges(dataset.lengths, bucket_waste)
    logger.info(
        "length buckets: %d, of %s s; padding is %.1f %% of the samples computed on%s",
        len(dataset.edges),
        ", ".join(f"{edge / audio.frontend.sampling_rate_hz:.3g}" for edge in dataset.edges),
        100 * padded_share(dataset.lengths, dataset.edges),
        ", and more for clips that speed augmentation shortens" if changes else "",
    )


def training_loader(
    clips: Any, sampler: Sampler[int], collate: Callable[..., Any], args: Any, batch_size: int
) -> DataLoader[Any]:
    """Return batches of stored clips, with a separate random generator for the seeds of worker processes.

    Trainer would draw these seeds from the generator of dropout, and at another point in a resumed run.

    Args:
        clips: training clips.
        sampler: order of the clips.
        collate: function that makes a batch.
        args: training settings.
        batch_size: clips in a batch of one process.
    """
    return DataLoader(
        clips,
        batch_size=batch_size,
        sampler=sampler,
        drop_last=args.dataloader_drop_last,
        collate_fn=collate,
        num_workers=args.dataloader_num_workers,
        worker_init_fn=begin_worker,
        generator=torch.Generator(),
        multiprocessing_context=args.dataloader_multiprocessing_context,
        persistent_workers=args.dataloader_persistent_workers,
        prefetch_factor=args.dataloader_prefetch_factor,
        pin_memory=args.dataloader_pin_memory,
        in_order=args.dataloader_in_order,
    )


def sampling_order(clips: Any, args: Any, batch_size: int) -> Sampler[int]:
    """Return the order of the clips, by length buckets, which does not depend on the number of processes.

    Args:
        clips: training clips.
        args: training settings.
        batch_size: clips in a batch of one process.
    """
    if args.train_sampling_strategy == "sequential":
        return SequentialSampler(clips)
    share = batch_size * args.world_size
    balanced = args.sampler == "balanced"
    sampler: Any = functools.partial(BalancedSampler, classes=clips.labels) if balanced else BucketSampler
    made: Sampler[int] = sampler(
        clips.lengths,
        clips.lengths.max(keepdims=True) if clips.edges is None else clips.edges,
        share * args.gradient_accumulation_steps,
        share_size=share if args.world_size > 1 else 1,
        seed=args.seed if args.data_seed is None else args.data_seed,
        drop_last=args.dataloader_drop_last,
    )
    return made
