"""``earmark predict``."""

from __future__ import annotations

from collections.abc import Sequence

from earmark.cli import help as pages


def help_text() -> str:
    """The help page."""
    return pages.predict_help()


def run(words: Sequence[str]) -> None:
    """Label recordings as told; the rows go to a file or to standard output as they come."""
    from earmark.cli.parsing import parse_predict

    options = parse_predict(words)  # before torch is imported, which takes seconds
    from earmark.predict.run import predict_files

    predict_files(options)
