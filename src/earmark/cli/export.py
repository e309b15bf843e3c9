"""``earmark export``."""

from __future__ import annotations

from collections.abc import Sequence

from earmark.cli import help as pages


def help_text() -> str:
    """The help page."""
    return pages.export_help()


def run(words: Sequence[str]) -> None:
    """Export a model as told and print what came of it."""
    from earmark.cli.parsing import parse_export

    options = parse_export(words)  # before torch is imported, which takes seconds
    from earmark.export.run import export

    print(export(options).summary)
