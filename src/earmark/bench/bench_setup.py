"""Prepare clips and models to measure with, in the same way as ``earmark train``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import transformers

from earmark.bench.bench_clips import SHORTEST_S, draw_lengths_s, write_split
from earmark.clips.clip import ClipTable
from earmark.errors import DataError
from earmark.models.build_model import AudioModel, build_for_training, load_description
from earmark.models.model_source import ModelSource, model_source
from earmark.settings.bench_flags import BenchOptions
from earmark.settings.data_flags import DEFAULT_LONGEST_S, DataArguments
from earmark.sources.source import Request
from earmark.sources.source_registry import load_data_dir
from earmark.store.usable import UsableClips, keep_usable


@dataclass(frozen=True)
class BenchClips:
    """Decoded clips.

    Attributes:
        usable: the table of clips, and their samples.
        sampling_rate_hz: rate of the samples.
    """

    usable: UsableClips
    sampling_rate_hz: int

    def __len__(self) -> int:
        return len(self.usable.table)

    @property
    def lengths_s(self) -> np.ndarray:
        """Seconds of each clip, float64 (N,)."""
        return self.usable.waveforms.num_samples / self.sampling_rate_hz

    def longest_s(self, asked_s: float | None) -> float:
        """Return how much of a clip is used at most, in seconds."""
        return min(float(self.lengths_s.max()), DEFAULT_LONGEST_S) if asked_s is None else asked_s


def find_clips(options: BenchOptions, folder: Path) -> ClipTable:
    """Return the training clips of ``--data_dir``, or write synthetic ones into ``folder``.

    Raises:
        UsageError: ``--lengths`` is not a distribution.
        DataError: the folder does not exist or has no training clips.
        OutputError: the synthetic clips cannot be written.
    """
    if options.data_dir is None:
        rng = np.random.default_rng(options.seed)
        write_split(folder / "train", draw_lengths_s(options.lengths, options.num_clips, rng), rng)
    place = str(folder) if options.data_dir is None else options.data_dir
    table = load_data_dir(place, Request()).train
    if table is None:
        raise DataError(f"{place}: no training clips. Put them into a folder named train.")
    return table


def decode(table: ClipTable, sampling_rate_hz: int, store_dir: Path) -> BenchClips:
    """Build the waveform store.

    Raises:
        DataError: a recording cannot be read or is shorter than 25 ms.
        OutputError: the store cannot be written.
    """
    usable, _ = keep_usable({"train": table}, sampling_rate_hz, DataArguments(store_dir=str(store_dir)))
    clips = BenchClips(usable["train"], sampling_rate_hz)
    shortest = int(clips.lengths_s.argmin())
    if clips.lengths_s[shortest] < SHORTEST_S:
        raise DataError(
            f"{clips.usable.table[shortest].source}: the clip is {1000 * clips.lengths_s[shortest]:.3g} ms long. Use "
            f"clips of at least {1000 * SHORTEST_S:g} ms."
        )
    return clips


def sampling_rate_of_model(options: BenchOptions) -> int:
    """Return the sampling rate of the model, in hertz.

    Raises:
        ModelError: there is no such model.
    """
    return int(load_description(_source(options)).extractor.sampling_rate)


def build_model(options: BenchOptions, clips: BenchClips) -> AudioModel:
    """Build the model with a new head for the labels of the clips.

    Raises:
        ModelError: the model cannot be built.
    """
    transformers.set_seed(options.seed)
    longest_s = clips.longest_s(None)
    return build_for_training(_source(options), clips.usable.table.labels(), options.max_length_seconds, longest_s)


def _source(options: BenchOptions) -> ModelSource:
    source = model_source(options)
    source.attention_mask = options.attention_mask
    return source
