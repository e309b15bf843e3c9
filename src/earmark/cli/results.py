"""``earmark results``."""

from __future__ import annotations

from collections.abc import Sequence

from earmark.cli.parsing import UsageErrorParser
from earmark.errors import UsageError

_HELP = """\
earmark results: one table for many runs, in Markdown

usage: earmark results RUN...
       RUN is a run folder that `earmark train` wrote; of a cross-validation or several seeds the
       row has the means. Of a folder of runs, all that are finished

examples
  earmark results runs > RESULTS.md
  earmark results runs/first runs/second"""


def help_text() -> str:
    """The help page."""
    return _HELP


def parse_results(words: Sequence[str]) -> list[str]:
    """The run folders named.

    Raises:
        UsageError: none is, or there is a flag.
    """
    _, folders = UsageErrorParser(allow_abbrev=False, add_help=False).parse_flags(words)
    if not folders:
        raise UsageError("name the run folders: earmark results RUN...")
    return folders


def run(words: Sequence[str]) -> None:
    """Print the table."""
    folders = parse_results(words)
    from earmark.runs.results import results_table

    print(results_table(folders))
