"""``earmark serve``."""

from __future__ import annotations

from collections.abc import Sequence

from earmark.cli import help as pages


def help_text() -> str:
    """The help page."""
    return pages.serve_help()


def run(words: Sequence[str]) -> None:
    """Serve as told, until a signal ends it."""
    from earmark.cli.parsing import parse_serve

    options = parse_serve(words)  # before torch is imported, which takes seconds
    from earmark.serve.run import serve

    serve(options)
