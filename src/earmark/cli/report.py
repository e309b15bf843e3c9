"""``earmark report``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from earmark.cli.parsing import UsageErrorParser
from earmark.errors import UsageError

_HELP = """\
earmark report: is one run better than another, or was it lucky?

usage: earmark report RUN RUN... [flags]
       RUN is a run folder of `earmark train`, a folder of `earmark evaluate`, or that of a
       cross-validation, all of whose test clips count; the first is what the others are held
       against, on the same clips

prints figures with 95 % intervals, differences with those of the paired bootstrap, and McNemar's
exact test (of numbers, Wilcoxon's). Where the clips have ten groups or more (--group_column), whole
groups are drawn, and a sign-flip test over groups takes the place of these tests. The report of a
single run is RUN/report.html; train and evaluate write it

flags
  --split test|validation|unseen
      which predictions to compare (default: the first of these that all runs have)
  --output FILE.html
      also write a page, with the clips that decide between two runs, to hear
  --overwrite
      replace the page if it is there

example
  earmark report runs/plain runs/augmented --output comparison.html"""


def help_text() -> str:
    """The help page."""
    return _HELP


def parse_report(words: Sequence[str]) -> argparse.Namespace:
    """``runs``, ``split``, ``output`` and ``overwrite``.

    Raises:
        UsageError: a flag is wrong, or fewer than two runs are named.
    """
    parser = UsageErrorParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--split", choices=("test", "validation", "unseen"))
    parser.add_argument("--output")
    parser.add_argument("--overwrite", action="store_true")
    options, runs = parser.parse_flags(words)
    options.runs = runs
    if len(options.runs) < 2:
        raise UsageError("name two runs or more: earmark report RUN RUN...; the report of one is RUN/report.html")
    if options.output and not options.output.endswith(".html"):
        raise UsageError(f"--output {options.output}: is a page; end its name in .html")
    return options


def run(words: Sequence[str]) -> None:
    """Print the comparison, and write the page if asked."""
    options = parse_report(words)
    from earmark.errors import OutputError
    from earmark.report.compare import compare_runs
    from earmark.report.compare_page import write_comparison

    if options.output and Path(options.output).exists() and not options.overwrite:
        raise OutputError(f"{options.output}: is there already; give another name, or replace it with --overwrite")
    found = compare_runs(options.runs, options.split)
    print(found.summary())
    if options.output:
        print(f"\npage  {write_comparison(Path(options.output), found)}")
