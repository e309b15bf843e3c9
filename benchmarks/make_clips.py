"""Write a folder of synthetic recordings to measure on: four classes of tones in noise, of a given length.

    python benchmarks/make_clips.py OUT --clips 1000 --lengths lognormal:2.0,0.8,0.5,16

gives ``OUT/train/CLASS/*.wav`` and ``OUT/validation/CLASS/*.wav``, 16-bit mono at 16 kHz. The same arguments give the
same samples on every machine with the same NumPy.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 16_000
TONES_HZ = {"tone_250": 250.0, "tone_600": 600.0, "tone_1400": 1400.0, "tone_3200": 3200.0}
_LENGTHS_HELP = (
    "seconds: fixed:1.0, uniform:0.5,16 (shortest, longest) or lognormal:2.0,0.8,0.5,16 (median, sigma of the "
    "logarithm, and the bounds that longer and shorter ones are cut to) (default: %(default)s)"
)


def draw_lengths_s(spec: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` clip lengths in seconds, float64.

    Args:
        spec: ``fixed:S``, ``uniform:LOW,HIGH`` or ``lognormal:MEDIAN,SIGMA,LOW,HIGH``.
        count: how many.
        rng: where they are drawn from.

    Raises:
        ValueError: not one of the three, or lengths of 0 or less.
    """
    kind, _, rest = spec.partition(":")
    numbers = [float(number) for number in rest.split(",")]
    if kind == "fixed" and len(numbers) == 1:
        lengths_s = np.full(count, numbers[0])
    elif kind == "uniform" and len(numbers) == 2:
        lengths_s = rng.uniform(numbers[0], numbers[1], count)
    elif kind == "lognormal" and len(numbers) == 4:
        median_s, sigma, shortest_s, longest_s = numbers
        lengths_s = np.clip(rng.lognormal(np.log(median_s), sigma, count), shortest_s, longest_s)
    else:
        raise ValueError(f"{spec}: not a distribution of lengths")
    if not lengths_s.min() > 0:
        raise ValueError(f"{spec}: lengths must be above 0 seconds")
    return lengths_s


def tone_in_noise(frequency_hz: float, length_s: float, rng: np.random.Generator) -> np.ndarray:
    """Samples (T,) float64 of a tone within 10 % of ``frequency_hz``, with its octave, in noise."""
    time_s = np.arange(max(1, round(length_s * RATE_HZ))) / RATE_HZ
    phase = 2 * np.pi * frequency_hz * rng.uniform(0.9, 1.1) * time_s + rng.uniform(0, 2 * np.pi)
    return 0.2 * np.sin(phase) + 0.05 * np.sin(2 * phase) + rng.uniform(0.02, 0.1) * rng.standard_normal(len(time_s))


def write_split(folder: Path, lengths_s: np.ndarray, rng: np.random.Generator) -> None:
    """Write one recording for each length, the classes in turn."""
    labels = list(TONES_HZ)
    for label in labels:
        (folder / label).mkdir(parents=True)
    for i, length_s in enumerate(lengths_s):
        label = labels[i % len(labels)]
        waveform = tone_in_noise(TONES_HZ[label], float(length_s), rng)
        soundfile.write(folder / label / f"{i:06d}.wav", waveform, RATE_HZ, subtype="PCM_16")


def main() -> None:
    """Parse the command line and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to write; must not exist yet")
    parser.add_argument("--clips", type=int, default=1000, help="training clips (default: %(default)s)")
    parser.add_argument(
        "--validation_clips", type=int, help="validation clips (default: a fifth of --clips, at least 4)"
    )
    parser.add_argument("--lengths", default="fixed:1.0", help=_LENGTHS_HELP)
    parser.add_argument("--seed", type=int, default=0, help="seed of all samples and lengths (default: %(default)s)")
    args = parser.parse_args()
    if args.out.exists():
        parser.error(f"{args.out} exists already; name another folder")
    num_validation = max(len(TONES_HZ), args.clips // 5) if args.validation_clips is None else args.validation_clips
    if min(args.clips, num_validation) < len(TONES_HZ):
        parser.error(f"at least {len(TONES_HZ)} clips a split, one a class")
    rng = np.random.default_rng(args.seed)
    try:
        lengths_s = draw_lengths_s(args.lengths, args.clips + num_validation, rng)
    except ValueError as exc:
        parser.error(f"--lengths {exc}")
    write_split(args.out / "train", lengths_s[: args.clips], rng)
    write_split(args.out / "validation", lengths_s[args.clips :], rng)
    total_s = lengths_s.sum()
    print(f"{args.out}: {args.clips} training and {num_validation} validation clips, {total_s:.0f} s of sound")


if __name__ == "__main__":
    main()
