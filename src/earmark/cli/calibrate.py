"""``earmark calibrate``."""

from __future__ import annotations

from collections.abc import Sequence

from earmark.cli import help as pages
from earmark.progress import is_main_process


def help_text() -> str:
    """The help page."""
    return pages.calibrate_help()


def run(words: Sequence[str]) -> None:
    """Fit as told and print what came of it."""
    from earmark.cli.parsing import parse_calibrate
    from earmark.cli.train import show

    options, notes = parse_calibrate(words)  # before torch is imported, which takes seconds
    show(notes)
    from earmark.evaluate.calibrate import calibrate

    if is_main_process():
        print(calibrate(options).summary)
