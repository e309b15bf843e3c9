"""``earmark quickstart``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from earmark.cli.parsing import UsageErrorParser
from earmark.errors import UsageError

_HELP = """\
earmark quickstart: from nothing to a spoken-command classifier, in about two minutes on two CPU cores

usage: earmark quickstart [DIR] [flags]

Synthesises a corpus of spoken commands in many voices, trains a small network from scratch, evaluates it on
voices it never heard, prints the results row and labels a few recordings. Needs: pip install 'earmark[synth]'

flags
  --seed N
      seed of the corpus and of training (default: 0)
  --device DEVICE
      auto, npu, cuda, xpu, mps or cpu; auto takes the first accelerator there is (default: auto)

DIR receives corpus/ (kept for the next time) and run/ (replaced) (default: quickstart)"""


def help_text() -> str:
    """The help page."""
    return _HELP


def parse_quickstart(words: Sequence[str]) -> argparse.Namespace:
    """``folder``, ``seed`` and ``device``.

    Raises:
        UsageError: a flag is wrong, or there is more than one folder.
    """
    parser = UsageErrorParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    options, folders = parser.parse_flags(words)
    if len(folders) > 1:
        raise UsageError(f"one folder at most, found {len(folders)}: earmark quickstart [DIR]")
    options.folder = folders[0] if folders else "quickstart"
    return options


def run(words: Sequence[str]) -> None:
    """Do the main job on the built-in example."""
    options = parse_quickstart(words)
    from earmark.quickstart import run as run_quickstart

    print(run_quickstart(options.folder, seed=options.seed, device=options.device).summary)
