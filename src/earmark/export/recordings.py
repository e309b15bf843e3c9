"""Choose the recordings to check an export with: the user's, or generated speech-like audio."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from earmark.audio.reading import decoder_threads, read_in_order
from earmark.clips.clip import Clip, ClipTable
from earmark.errors import AudioError, DataError
from earmark.runs.split_record import SplitRecord
from earmark.sources.listing import list_recordings
from earmark.store.known_contents import read_contents
from earmark.store.waveforms import default_store_root
from earmark.text import counted, none_could

logger = logging.getLogger(__name__)

_GENERATED_CLIPS = 24
# Maximum number of recordings compared with the training clips: this total, or this multiple of the wanted number if
# that is more.
_LOOKED_AT, _LOOKED_AT_FOR_EACH = 2000, 20
_SYLLABLE_S = 0.18
# First and second formant of five vowels in hertz (Peterson and Barney 1952, men, rounded).
_VOWELS_HZ = ((270, 2290), (530, 1840), (730, 1090), (570, 840), (300, 870))


@dataclass(frozen=True)
class Recordings:
    """N recordings.

    Attributes:
        origin: description of their source.
        waveforms: float32 arrays ``(T_i,)``.
        labels: class index of each, int64 (N,); ``None`` without labels.
    """

    origin: str
    waveforms: list[np.ndarray]
    labels: np.ndarray | None


def find_recordings(
    folder: str | None, sampling_rate_hz: int, classes: list[str], most: int, record: SplitRecord | None = None
) -> Recordings:
    """Return recordings of a folder, evenly spread over its sorted files, or generated ones without a folder.

    If the run has a record of its splits, prefer recordings that it was not trained on: an 8-bit export looks better
    than it is on training clips.

    Args:
        folder: folder to search. If every recording is in a subfolder named after a class, that is its label.
        sampling_rate_hz: sampling rate to return.
        classes: class names of the model.
        most: maximum number of recordings.
        record: record of the run's splits; ``None`` if it has none.

    Raises:
        DataError: no recording in the folder can be read.
    """
    if folder is None:
        return Recordings("generated speech-like audio", speech_like(sampling_rate_hz, _GENERATED_CLIPS), None)
    listing = list_recordings(Path(folder))
    listing.log_skipped()
    paths = [Path(path) for path in listing.paths]
    if not paths:
        raise DataError(f"{folder}: no audio files in this folder. Give --calibration a folder of recordings.")
    if record is not None:
        looked_at = _spread(paths, max(_LOOKED_AT, _LOOKED_AT_FOR_EACH * most))
        paths = _not_trained_on(looked_at, record, folder, most)
    paths = _spread(paths, most)
    waveforms: list[np.ndarray] = []
    names: list[str] = []
    clips = [Clip(source=str(path), path=str(path)) for path in paths]
    for path, (_, result) in zip(paths, read_in_order(clips, sampling_rate_hz), strict=True):
        if isinstance(result, AudioError):
            logger.warning("%s (left out of the check)", result)
            continue
        waveforms.append(result)
        names.append(path.parent.name)
    if not waveforms:
        raise DataError(f"{folder}: {none_could(len(paths))} be read. Give --calibration another folder.")
    labelled = set(names) <= set(classes)
    labels = np.array([classes.index(name) for name in names]) if labelled else None
    kind = "labelled" if labelled else "unlabelled"
    return Recordings(f"{counted(len(waveforms), f'{kind} recording')} of {folder}", waveforms, labels)


def _spread(paths: list[Path], most: int) -> list[Path]:
    """Return at most ``most`` of the paths, evenly spread."""
    return [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, min(most, len(paths))).round().astype(int))]


def _not_trained_on(paths: list[Path], record: SplitRecord, folder: str, enough: int) -> list[Path]:
    """Return recordings whose samples the run was not trained on; if it was trained on all, warn and return all.

    Comparing samples means decoding recordings, so the function takes evenly spread ones until it has ``enough``.
    """
    found: list[Path] = []
    num_trained_on = 0
    stride = max(1, -(-len(paths) // enough))
    for first in range(stride):
        some = paths[first::stride]
        table = ClipTable([Clip(source=str(path), path=str(path)) for path in some], folder)
        contents, _ = read_contents(table, num_threads=decoder_threads(None), stores=default_store_root())
        trained_on = record.trained_on(contents)
        num_trained_on += int(trained_on.sum())
        found += [path for path, trained in zip(some, trained_on.tolist(), strict=True) if not trained]
        if len(found) >= enough:
            break
    if not found:
        logger.warning(
            "%s: the run was trained on all of %s, so accuracy and agreement of the export look better than they are "
            "on new recordings. Give --calibration a folder of recordings that it was not trained on.",
            folder,
            counted(len(paths), "recording"),
        )
        return paths
    if num_trained_on:
        logger.info("%s: skipped %s that the run was trained on", folder, counted(num_trained_on, "recording"))
    return sorted(found)


def speech_like(sampling_rate_hz: int, count: int) -> list[np.ndarray]:
    """Generate clips of 0.3 to 6 s with voiced syllables (falling pitch, two formants), hisses and pauses.

    Returns:
        float32 arrays ``(T_i,)``, peaks below 1.
    """
    rng = np.random.default_rng(0)
    lengths_s = np.geomspace(0.3, 6.0, count)
    return [_utterance(rng, float(seconds), sampling_rate_hz) for seconds in rng.permutation(lengths_s)]


def _utterance(rng: np.random.Generator, seconds: float, rate_hz: int) -> np.ndarray:
    total, step = round(seconds * rate_hz), round(_SYLLABLE_S * rate_hz)
    wave = 0.003 * rng.standard_normal(total)
    pitch_hz = rng.uniform(90, 240)
    for start in islice(range(0, total, step), 64):
        part = wave[start : start + step]
        time_s = np.arange(len(part)) / rate_hz
        if rng.random() < 0.25:  # a hiss, or a pause if it is faint
            sound = rng.standard_normal(len(part)) * rng.choice([0.02, 0.2])
        else:
            sound = _vowel(time_s, pitch_hz * rng.uniform(0.9, 1.1), _VOWELS_HZ[rng.integers(len(_VOWELS_HZ))])
        part += sound * np.sin(np.pi * time_s / _SYLLABLE_S)
    return (0.5 * rng.uniform(0.1, 1.0) * wave / np.abs(wave).max()).astype(np.float32)


def _vowel(time_s: np.ndarray, pitch_hz: float, formants_hz: tuple[int, int]) -> np.ndarray:
    """Return harmonics of a pitch that falls by a tenth, weighted by their distance from two formants."""
    phase = 2 * np.pi * pitch_hz * (time_s - 0.05 * time_s**2 / _SYLLABLE_S)
    harmonics = np.arange(1, max(2, int(3500 / pitch_hz)))[:, None]
    nearness = sum(1 / (1 + ((harmonics * pitch_hz - formant) / 90) ** 2) for formant in formants_hz)
    return np.asarray((nearness / harmonics**0.5 * np.sin(harmonics * phase)).sum(axis=0))
