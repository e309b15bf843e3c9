"""``earmark label``."""

from __future__ import annotations

from collections.abc import Sequence

from earmark.cli import help as pages


def help_text() -> str:
    """The help page."""
    return pages.label_help()


def run(words: Sequence[str]) -> None:
    """Propose labels, serve the page until a signal ends it, and print what came of it."""
    from earmark.cli.parsing import parse_label

    options = parse_label(words)  # before torch is imported, which takes seconds
    from earmark.label.run import label

    print(label(options).summary)
