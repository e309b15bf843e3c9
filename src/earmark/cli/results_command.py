"""``earmark results``."""

from __future__ import annotations

from dataclasses import dataclass

from earmark.cli.command import Command, HelpPage
from earmark.settings.flags import Settings, flag


@dataclass
class ResultsOptions(Settings):
    """``earmark results``: the run folders."""

    REQUIRED = ("runs",)
    MISSING = "no run folders. Name them: earmark results RUN..."

    runs: list[str] = flag([], "Run folders, or folders of run folders.")


def _results(options: ResultsOptions) -> None:
    from earmark.runs.results import results_table

    print(results_table(options.runs))


_PAGE = HelpPage(
    summary="show many runs in one table",
    usage="""
earmark results RUN...
RUN is a run folder that `earmark train` wrote, or a folder of run folders, in which each finished
run gets a row. A cross-validation, or a folder of several seeds, gets one row with the means""",
    examples="""
earmark results runs > RESULTS.md
earmark results runs/first runs/second""",
)
COMMAND = Command("results", _results, (ResultsOptions,), _PAGE, words=("runs",), needs_files=False)
