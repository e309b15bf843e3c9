"""``earmark augment-preview``."""

from __future__ import annotations

from collections.abc import Sequence

from earmark.cli import help as pages


def help_text() -> str:
    """The help page."""
    return pages.augment_preview_help()


def run(words: Sequence[str]) -> None:
    """Write the preview and say where it is."""
    from earmark.cli.parsing import parse_augment_preview
    from earmark.cli.train import show
    from earmark.train.preview import preview

    made = preview(parse_augment_preview(words))
    show(made.notes)
    print(made.summary)
