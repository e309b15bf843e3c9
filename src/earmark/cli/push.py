"""``earmark push``."""

from __future__ import annotations

from collections.abc import Sequence

from earmark.cli import help as pages


def help_text() -> str:
    """The help page."""
    return pages.push_help()


def run(words: Sequence[str]) -> None:
    """Upload as told and print where it is."""
    from earmark.cli.parsing import parse_push
    from earmark.runs.push import push

    print(push(parse_push(words)).url)
