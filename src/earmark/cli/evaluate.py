"""``earmark evaluate``."""

from __future__ import annotations

from collections.abc import Sequence

from earmark.cli import help as pages
from earmark.progress import is_main_process


def help_text() -> str:
    """The help page."""
    return pages.evaluate_help()


def run(words: Sequence[str]) -> None:
    """Score a model as told and print the result."""
    from earmark.cli.parsing import parse_evaluate
    from earmark.cli.train import show

    options, notes = parse_evaluate(words)  # before torch is imported, which takes seconds
    show(notes)
    from earmark.evaluate.run import evaluate

    if is_main_process():  # the others of a launcher would score and write the same
        print(evaluate(options).summary)
