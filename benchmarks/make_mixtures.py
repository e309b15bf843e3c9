"""Make recordings with several labels, and recordings labelled with a number, from recordings of single words.

    python benchmarks/make_mixtures.py speech_commands_12 mixtures

``labels_SPLIT.csv`` lists recordings with up to three different words at once in noise, each word at a random level and
time. Recordings without a word have only noise. ``snr_SPLIT.csv`` lists recordings of one word in noise, labelled with
the signal-to-noise ratio, from -5 to 25 dB. The recordings of a split are made only from words and noise of that split.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 16_000
NOISE, OTHER = "_silence_", "_unknown_"
_COUNTS = {"train": 3000, "validation": 800}


def read(path: Path) -> np.ndarray:
    """Return the first second of a recording, float64 (16000,), zero-padded."""
    samples, rate_hz = soundfile.read(path)
    assert rate_hz == RATE_HZ, path
    return np.pad(samples[:RATE_HZ], (0, max(0, RATE_HZ - len(samples))))


def main() -> None:
    """Make both data sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", type=Path, help="folder with SPLIT/LABEL/*.flac at 16 kHz; _silence_ is noise")
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    for split, count in _COUNTS.items():
        clips = {place.name: sorted(place.iterdir()) for place in sorted((options.words / split).iterdir())}
        words = [name for name in clips if name not in (NOISE, OTHER)]
        rng = np.random.default_rng(len(split))

        def drawn(name: str, clips: dict[str, list[Path]] = clips, rng: np.random.Generator = rng) -> np.ndarray:
            return read(clips[name][rng.integers(len(clips[name]))])

        several, numbers = [], []
        for i in range(count):
            noise = drawn(NOISE)
            names = rng.choice(words, size=rng.integers(4), replace=False)
            sound = noise + sum(
                (np.roll(drawn(name), rng.integers(-3200, 3200)) * rng.uniform(0.3, 1) for name in names), 0
            )
            several.append(write(options.output / split, f"labels_{i}.flac", sound, ",".join(sorted(names))))
            word, snr_db = drawn(words[rng.integers(len(words))]), rng.uniform(-5, 25)
            factor = np.sqrt((word**2).mean() / max((noise**2).mean(), 1e-12) / 10 ** (snr_db / 10))
            numbers.append(write(options.output / split, f"snr_{i}.flac", word + factor * noise, f"{snr_db:.2f}"))
        for name, column, rows in (("labels", "label", several), ("snr", "snr_db", numbers)):
            with (options.output / f"{name}_{split}.csv").open("w", newline="") as file:
                csv.writer(file).writerows([["file", column], *rows])


def write(folder: Path, name: str, sound: np.ndarray, label: str) -> list[str]:
    """Write a recording with its peak at -6 dB of full scale; return its row."""
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / name, 0.5 * sound / max(np.abs(sound).max(), 1e-9), RATE_HZ)
    return [f"{folder.name}/{name}", label]


if __name__ == "__main__":
    main()
