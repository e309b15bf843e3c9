"""Write synthetic recordings to measure with. Their lengths follow a distribution and depend on a seed.

Four classes of tones in noise, 16-bit mono at 16 kHz. The same arguments give the same samples on every machine with
the same NumPy.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import soundfile

from earmark.errors import OutputError, UsageError, first_line
from earmark.progress import Progress

RATE_HZ = 16_000
TONES_HZ = {"tone_250": 250.0, "tone_600": 600.0, "tone_1400": 1400.0, "tone_3200": 3200.0}
SHORTEST_S = 0.025  # one frame of a spectrogram, or of wav2vec2's convolutions

_BYTES_PER_SAMPLE = 2


def draw_lengths_s(spec: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw clip lengths in seconds, float64 (count,).

    Args:
        spec: ``fixed:S``, ``uniform:LOW,HIGH`` or ``lognormal:MEDIAN,SIGMA,LOW,HIGH`` (sigma of the logarithm; values
            outside the bounds are clipped to them).
        count: number of clips.
        rng: generator to draw from.

    Raises:
        UsageError: the text has none of these forms, or a clip would be shorter than 25 ms.
    """
    kind, _, rest = spec.partition(":")
    try:
        numbers = [float(number) for number in rest.split(",")]
    except ValueError:
        numbers = []
    if kind == "fixed" and len(numbers) == 1:
        low = high = numbers[0]
    elif kind == "uniform" and len(numbers) == 2:
        low, high = numbers
    elif kind == "lognormal" and len(numbers) == 4 and numbers[0] > 0 and 0 <= numbers[1] < np.inf:
        low, high = numbers[2:]
    else:
        raise UsageError(
            f"--lengths {spec}: not a distribution of seconds. Use fixed:1.0, uniform:0.5,16 (shortest, longest) or "
            "lognormal:2.0,0.8,0.5,16 (median, sigma, shortest, longest)."
        )
    if not SHORTEST_S <= low <= high < np.inf:
        raise UsageError(f"--lengths {spec}: invalid lengths. Give {SHORTEST_S:g} s or more, the shortest first.")
    if kind == "fixed":
        return np.full(count, low)
    if kind == "uniform":
        return rng.uniform(low, high, count)
    return np.clip(rng.lognormal(np.log(numbers[0]), numbers[1], count), low, high)


def tone_in_noise(frequency_hz: float, length_s: float, rng: np.random.Generator) -> np.ndarray:
    """Return samples (T,) float64 of noise with a tone within 10 % of ``frequency_hz`` and its octave."""
    time_s = np.arange(max(1, round(length_s * RATE_HZ))) / RATE_HZ
    phase = 2 * np.pi * frequency_hz * rng.uniform(0.9, 1.1) * time_s + rng.uniform(0, 2 * np.pi)
    return 0.2 * np.sin(phase) + 0.05 * np.sin(2 * phase) + rng.uniform(0.02, 0.1) * rng.standard_normal(len(time_s))


def write_split(folder: Path, lengths_s: np.ndarray, rng: np.random.Generator) -> None:
    """Write one recording per length, alternating between the classes.

    Args:
        folder: where to make a folder for each class.
        lengths_s: seconds, float64 (N,).
        rng: generator to draw samples from.

    Raises:
        OutputError: the recordings cannot be written.
    """
    labels = list(TONES_HZ)
    needed_bytes = float(lengths_s.sum()) * RATE_HZ * _BYTES_PER_SAMPLE
    try:
        for label in labels[: len(lengths_s)]:
            (folder / label).mkdir(parents=True)
        free_bytes = shutil.disk_usage(folder).free
        if needed_bytes > free_bytes:
            raise OutputError(
                f"{folder}: the clips need {needed_bytes / 1e9:,.1f} GB, and {free_bytes / 1e9:,.1f} GB are free. "
                "Lower --num_clips, or name another folder with TMPDIR."
            )
        with Progress("writing clips", len(lengths_s)) as progress:
            for i, length_s in enumerate(lengths_s):
                label = labels[i % len(labels)]
                waveform = tone_in_noise(TONES_HZ[label], float(length_s), rng)
                soundfile.write(folder / label / f"{i:06d}.wav", waveform, RATE_HZ, subtype="PCM_16")
                progress.update(1)
    except (OSError, soundfile.LibsndfileError) as exc:
        raise OutputError(
            f"{folder}: the clips cannot be written ({first_line(exc)}). Name another folder with TMPDIR."
        ) from exc
