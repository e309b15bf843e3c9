"""``earmark report``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from earmark.cli.command import Command, HelpPage
from earmark.errors import OutputError, UsageError
from earmark.settings.flags import Settings, flag


@dataclass
class ReportOptions(Settings):
    """``earmark report``: the runs to compare."""

    runs: list[str] = flag([], "Runs to compare.")
    split: Literal["test", "validation", "unseen"] | None = flag(
        None, "Split whose predictions are compared (default: the first of these that all runs have)."
    )
    output: str | None = flag(
        None, "Also write a page with the clips on which two runs differ, to listen to.", metavar="FILE.html"
    )
    overwrite: bool = flag(False, "Replace the page if it exists.")

    def validate(self) -> None:
        """Check the name of the page."""
        super().validate()
        if self.output and not self.output.endswith(".html"):
            raise UsageError(f"--output {self.output}: the comparison is a page. End its name in .html.")


def _report(options: ReportOptions) -> None:
    from earmark.report.compare import compare_runs
    from earmark.report.compare_page import write_comparison

    if options.output and Path(options.output).exists() and not options.overwrite:
        raise OutputError(f"{options.output}: exists already. Give another name, or replace it with --overwrite.")
    found = compare_runs(options.runs, options.split)
    print(found.summary())
    if options.output:
        print(f"\npage  {write_comparison(Path(options.output), found)}")


_PAGE = HelpPage(
    summary="compare runs on the same clips, with significance tests",
    usage="""
earmark report RUN RUN... [flags]
RUN is a run folder of `earmark train`, an output folder of `earmark evaluate`, or the folder of a
cross-validation, which counts as one run on the test clips of all folds. Each run is compared
with the first, on the same clips""",
    text="""
Prints metrics with 95 % intervals, differences with intervals from a paired bootstrap, and McNemar's exact test
(Wilcoxon's for --task regression). If the clips have ten groups or more (--group_column), whole groups are drawn, and
a sign-flip test over groups takes the place of these tests. The report of a single run is RUN/report.html; train and
evaluate write it.""",
    examples="earmark report runs/plain runs/augmented --output comparison.html",
)
COMMAND = Command("report", _report, (ReportOptions,), _PAGE, words=("runs",), needs_files=False, needs_training=True)
