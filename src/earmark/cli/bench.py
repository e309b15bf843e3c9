"""``earmark bench``."""

from __future__ import annotations

from collections.abc import Sequence

from earmark.bench_options import BenchOptions
from earmark.cli import help as pages
from earmark.errors import UsageError


def help_text() -> str:
    """The help page."""
    return pages.bench_help()


def parse_bench(words: Sequence[str]) -> BenchOptions:
    """Options of ``earmark bench data|train|infer``.

    Raises:
        UsageError: a flag is wrong, or nothing to measure was named.
    """
    from earmark.cli.parsing import build_parser

    namespace, rest = build_parser(BenchOptions).parse_flags(words)
    if len(rest) > 1:
        raise UsageError(f"unexpected word {rest[1]!r}: earmark bench data|train|infer [flags]")
    return BenchOptions(**{**vars(namespace), "work": rest[0] if rest else namespace.work})


def run(words: Sequence[str]) -> None:
    """Measure as told and print a table."""
    options = parse_bench(words)
    from earmark.bench.run import bench

    print(bench(options).summary)
