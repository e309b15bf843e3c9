"""``earmark inspect``."""

from __future__ import annotations

from collections.abc import Sequence

from earmark.cli import help as pages
from earmark.words import counted


def help_text() -> str:
    """The help page."""
    return pages.inspect_help()


def run(words: Sequence[str]) -> None:
    """Look through the data and print what was found."""
    from earmark.audit.run import inspect
    from earmark.cli.parsing import parse_inspect
    from earmark.cli.train import show
    from earmark.errors import DataError

    options = parse_inspect(words)
    found = inspect(options)
    if found.reasons:
        print("\n".join(["how the tables were read:", *(f"  {reason}" for reason in found.reasons), ""]))
    show(found.notes)
    print(found.summary)
    for path in found.written:
        print(f"{path.name:14} {path}")
    if options.strict and found.errors:
        kinds = ", ".join(dict.fromkeys(finding.kind for finding in found.errors))
        raise DataError(
            f"{found.audited.table.origin}: {counted(len(found.errors), 'finding')} of level error: {kinds}"
        )
