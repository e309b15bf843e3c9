"""Folders of sounds that training clips are changed with: noise, and impulse responses of rooms and microphones."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from earmark.config import DataArguments
from earmark.data.clips import Clip, ClipTable, fingerprint
from earmark.data.listing import list_audio
from earmark.data.reading import Waveforms
from earmark.data.scan import BadClip
from earmark.data.usable import keep_usable
from earmark.errors import DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sounds:
    """Recordings without labels, none of them silent.

    Attributes:
        table: the recordings.
        waveforms: their samples; row ``rows[i]`` is sound ``i``.
        rows: int64 (S,), S >= 1.
        bad: ``(flag, clip)`` for every recording that cannot be read and is left out.
    """

    table: ClipTable
    waveforms: Waveforms
    rows: np.ndarray
    bad: list[tuple[str, BadClip]]

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, index: int) -> str:
        """File name of sound ``index``."""
        return Path(self.table[int(self.rows[index])].source).name

    def lengths(self) -> np.ndarray:
        """Samples of each, int64 (S,)."""
        return np.asarray(self.waveforms.num_samples)[self.rows]

    def read(self, index: int, start: int, count: int) -> np.ndarray:
        """``count`` samples of sound ``index`` from ``start`` on, float32 (count,)."""
        row = self.rows[index : index + 1]
        numbers = self.waveforms.read_batch(row, np.array([start]), np.array([count]), count)[0]
        return numbers.astype(np.float32) * np.float32(self.waveforms.scales[row[0]])

    def fingerprint(self) -> str:
        """Short text that tells these from others."""
        return f"{len(self):,} sounds {fingerprint(self.table.keep(self.rows.tolist()))}"


def load_sounds(flag: str, folder: str, sampling_rate_hz: int, options: DataArguments) -> Sounds:
    """Decode a folder of sounds, once for all runs where the waveform store is on.

    Args:
        flag: that names the folder, for messages.
        folder: recordings in it and below are taken.
        sampling_rate_hz: rate they are used at.
        options: its store and decoder threads; ``on_bad_audio`` decides whether sounds that are unreadable, hold NaN or
            are silent end the run or are left out, which is said.

    Raises:
        DataError: no folder, no recordings in it, or bad ones under ``on_bad_audio=fail``.
    """
    if not Path(folder).is_dir():
        raise DataError(f"--{flag} {folder}: no such folder")
    clips = [Clip(source=str(path), path=str(path)) for path in list_audio(folder)]
    if not clips:
        raise DataError(f"--{flag} {folder}: no recordings (.wav, .flac, .mp3, ...) in it or below")
    parts, bad = keep_usable({flag: ClipTable(clips, folder)}, sampling_rate_hz, _without_labels(options))
    usable = parts[flag]
    heard = [bool(wave.any()) for wave in usable.waveforms.iterate(range(len(usable.table)))]
    silent = [clip.source for clip, sounds in zip(usable.table, heard, strict=True) if not sounds]
    if silent:
        what = f"--{flag} {folder}: {len(silent)} of {len(heard)} recordings are digital silence, first {silent[0]}"
        if options.on_bad_audio == "fail" or len(silent) == len(heard):
            raise DataError(f"{what}; remove them" + ("" if len(silent) == len(heard) else ", or --on_bad_audio skip"))
        logger.warning("%s; left out", what)
    return Sounds(usable.table, usable.waveforms, np.flatnonzero(heard), bad)


def _without_labels(options: DataArguments) -> DataArguments:
    """The settings of decoding alone."""
    kept = ("on_bad_audio", "store", "store_dir", "preprocessing_num_workers")
    return dataclasses.replace(DataArguments(), **{name: getattr(options, name) for name in kept})
