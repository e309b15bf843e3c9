"""Folders of recordings for augmentation: noise, and impulse responses of rooms and microphones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from earmark.audio.decode import power_left_in_mono
from earmark.audio.reading import Waveforms
from earmark.audio.samples import LEAST_LEFT
from earmark.clips.clip import Clip, ClipTable, fingerprint
from earmark.errors import DataError
from earmark.io.nearby_names import path_suggestion
from earmark.settings.data_flags import DataArguments
from earmark.sources.listing import list_recordings
from earmark.store.scan import BadClip
from earmark.store.usable import read_usable, report_bad_clips

RESPONSES = "augment_reverb"  # the flag whose folder holds impulse responses


@dataclass(frozen=True)
class Sounds:
    """Unlabelled recordings, none of them silent.

    Attributes:
        table: the recordings.
        waveforms: their samples; row ``rows[i]`` is recording ``i``.
        rows: int64 (S,), S >= 1.
        bad: ``(flag, clip)`` for every unusable recording that was ignored.
    """

    table: ClipTable
    waveforms: Waveforms
    rows: np.ndarray
    bad: list[tuple[str, BadClip]]

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, index: int) -> str:
        """Return the file name of recording ``index``."""
        return Path(self.table[int(self.rows[index])].source).name

    def lengths(self) -> np.ndarray:
        """Return the number of samples of each recording, int64 (S,)."""
        return np.asarray(self.waveforms.num_samples)[self.rows]

    def read(self, index: int, start: int, count: int) -> np.ndarray:
        """Return ``count`` samples of recording ``index`` from ``start``, float32 (count,)."""
        row = self.rows[index : index + 1]
        numbers = self.waveforms.read_batch(row, np.array([start]), np.array([count]), count)[0]
        return numbers.astype(np.float32) * np.float32(self.waveforms.scales[row[0]])

    def fingerprint(self) -> str:
        """Return a short text that identifies the recordings."""
        return f"{len(self):,} sounds {fingerprint(self.table.keep(self.rows.tolist()))}"


def load_sounds(folders: Mapping[str, str], sampling_rate_hz: int, options: DataArguments) -> dict[str, Sounds]:
    """Decode folders of noise or impulse responses, once for all runs if the waveform store is on.

    Args:
        folders: folder of each flag; subfolders are included. Recordings of ``augment_reverb`` are impulse responses,
            which are rejected if their channels cancel out.
        sampling_rate_hz: rate of the samples.
        options: settings of the store and the decoder threads. ``on_bad_audio`` decides whether bad
            recordings (unreadable, NaN, silent, or channels that cancel out) stop the run or are ignored.

    Returns:
        The recordings of each flag.

    Raises:
        DataError: a folder does not exist or has no recordings; or, under ``on_bad_audio=fail``, recordings of any
            folder are bad.
    """
    tables = {flag: _listed(flag, folder) for flag, folder in folders.items()}
    parts, unreadable = read_usable(tables, sampling_rate_hz, _without_labels(options))
    faults = [*unreadable]
    for flag, clips in parts.items():
        rows_by_id = {id(clip): row for row, clip in enumerate(tables[flag])}
        for clip, wave in zip(clips.table, clips.waveforms.iterate(range(len(clips.table))), strict=True):
            reason = _fault(clip, wave, is_response=flag == RESPONSES)
            if reason is not None:
                faults.append((flag, BadClip(rows_by_id[id(clip)], clip.source, reason)))
    report_bad_clips(faults, options.on_bad_audio)
    sounds = {}
    for flag, clips in parts.items():
        bad = [fault for fault in faults if fault[0] == flag]
        sources = {clip.source for _, clip in bad}
        rows = np.array([row for row, clip in enumerate(clips.table) if clip.source not in sources], dtype=np.int64)
        if not len(rows):
            raise DataError(f"--{flag} {folders[flag]}: no usable recording ({len(tables[flag])} bad). Replace them")
        sounds[flag] = Sounds(clips.table, clips.waveforms, rows, bad)
    return sounds


def _listed(flag: str, folder: str) -> ClipTable:
    if not Path(folder).is_dir():
        raise DataError(f"--{flag} {folder}: no such folder{path_suggestion(Path(folder), folders=True)}")
    listing = list_recordings(Path(folder))
    listing.log_skipped()
    clips = [Clip(source=path, path=path) for path in listing.paths]
    if not clips:
        raise DataError(f"--{flag} {folder}: no recordings (.wav, .flac, .mp3, ...) in this folder. Fix the path")
    return ClipTable(clips, folder)


def _fault(clip: Clip, samples: np.ndarray, *, is_response: bool) -> str | None:
    """Return why a readable recording cannot be used; ``None`` if it can."""
    left = power_left_in_mono(clip) if is_response else 1.0
    if left < LEAST_LEFT:
        return (
            f"its channels have opposite phase and cancel out: their mean has {100 * left:.2g} % of the power that "
            "uncorrelated channels would leave. Invert one channel, or keep only one"
        )
    return None if samples.any() else "digital silence"


def _without_labels(options: DataArguments) -> DataArguments:
    """Return the settings for decoding only."""
    kept = ("on_bad_audio", "store", "store_dir", "preprocessing_num_workers")
    return dataclasses.replace(DataArguments(), **{name: getattr(options, name) for name in kept})
