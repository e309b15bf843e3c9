"""``earmark embed``."""

from __future__ import annotations

from collections.abc import Sequence

from earmark.cli import help as pages


def help_text() -> str:
    """The help page."""
    return pages.embed_help()


def run(words: Sequence[str]) -> None:
    """Write embeddings as told."""
    from earmark.cli.parsing import parse_embed

    options = parse_embed(words)  # before torch is imported, which takes seconds
    from earmark.predict.embed import embed_files

    embed_files(options)
