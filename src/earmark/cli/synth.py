"""``earmark synth``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from earmark.cli.parsing import UsageErrorParser
from earmark.errors import UsageError

_HELP = """\
earmark synth: write a synthetic corpus of spoken commands, laid out like the Speech Commands archive

usage: earmark synth DIR [flags]

flags
  --utterances N
      spoken words to synthesise, over all splits (default: 3000)
  --seed N
      seed of voices, rates, pitches and noises; the same seed gives the same corpus (default: 0)

example
  earmark synth corpus --utterances 5000
  earmark train --dataset_name superb --dataset_config_name ks --data_dir corpus \\
      --model_type tc_resnet --output_dir runs/synthetic"""


def help_text() -> str:
    """The help page."""
    return _HELP


def parse_synth(words: Sequence[str]) -> argparse.Namespace:
    """``folder``, ``utterances`` and ``seed``.

    Raises:
        UsageError: a flag is wrong, or the folder is missing.
    """
    parser = UsageErrorParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--utterances", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    options, folders = parser.parse_flags(words)
    if len(folders) != 1:
        raise UsageError("name one folder for the corpus: earmark synth DIR")
    if options.utterances < 1:
        raise UsageError(f"--utterances {options.utterances}: expected a whole number from 1 on")
    options.folder = folders[0]
    return options


def run(words: Sequence[str]) -> None:
    """Write the corpus and print what is in it."""
    options = parse_synth(words)
    from earmark.data.synth import write_corpus
    from earmark.progress import Progress

    with Progress("synthesising speech", None) as progress:
        written = write_corpus(
            Path(options.folder), utterances=options.utterances, seed=options.seed, progress=progress.to
        )
    print(written.summary)
