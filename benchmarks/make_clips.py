"""Write a folder of synthetic recordings to measure with: four classes of tones in noise, of given lengths.

    python benchmarks/make_clips.py OUT --clips 1000 --lengths lognormal:2.0,0.8,0.5,16

This writes ``OUT/train/CLASS/*.wav`` and ``OUT/validation/CLASS/*.wav``, 16-bit mono at 16 kHz. The same arguments give
the same samples on every machine with the same NumPy.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from earmark.bench.bench_clips import TONES_HZ, draw_lengths_s, write_split
from earmark.errors import EarmarkError

_LENGTHS_HELP = (
    "lengths in seconds: fixed:1.0, uniform:0.5,16 (shortest, longest) or lognormal:2.0,0.8,0.5,16 (median, sigma of "
    "the logarithm, shortest, longest; other lengths are clipped to these bounds) (default: %(default)s)"
)


def main() -> None:
    """Parse the command line and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to write, which must not exist yet")
    parser.add_argument("--clips", type=int, default=1000, help="training clips (default: %(default)s)")
    parser.add_argument(
        "--validation_clips", type=int, help="validation clips (default: a fifth of --clips, at least 4)"
    )
    parser.add_argument("--lengths", default="fixed:1.0", help=_LENGTHS_HELP)
    parser.add_argument("--seed", type=int, default=0, help="seed of all samples and lengths (default: %(default)s)")
    args = parser.parse_args()
    if args.out.exists():
        parser.error(f"{args.out}: already exists. Name another folder.")
    num_validation = max(len(TONES_HZ), args.clips // 5) if args.validation_clips is None else args.validation_clips
    if min(args.clips, num_validation) < len(TONES_HZ):
        parser.error(f"each split needs at least {len(TONES_HZ)} clips, one for each class.")
    rng = np.random.default_rng(args.seed)
    try:
        lengths_s = draw_lengths_s(args.lengths, args.clips + num_validation, rng)
        write_split(args.out / "train", lengths_s[: args.clips], rng)
        write_split(args.out / "validation", lengths_s[args.clips :], rng)
    except EarmarkError as exc:
        parser.error(str(exc))
    total_s = lengths_s.sum()
    print(f"{args.out}: {args.clips} training and {num_validation} validation clips, {total_s:.0f} s of audio")


if __name__ == "__main__":
    main()
