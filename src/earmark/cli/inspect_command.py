"""``earmark inspect``."""

from __future__ import annotations

from earmark.cli.command import Command, HelpPage
from earmark.settings.evaluation_flags import InspectOptions
from earmark.text import counted


def _inspect(options: InspectOptions) -> None:
    from earmark.audit.inspect_clips import inspect
    from earmark.cli.train_command import show
    from earmark.errors import DataError

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
            f"{found.audited.table.origin}: {counted(len(found.errors), 'finding')} of level error: {kinds}. "
            "Fix the data, or leave --strict out."
        )


_PAGE = HelpPage(
    summary="report what is in the data and what is wrong with it, before training",
    usage="""
earmark inspect DATA_DIR [flags]
earmark inspect --train_file train.csv --eval_file eval.csv [flags]""",
    groups={"inspection": "inspection", "data": "data"},
    text="""
Decodes every clip once at its own rate and reports clips that cannot be read, are silent, quiet, clipped, off
centre, too short or too long; copies, also across splits and under two labels; groups (--group_column) in two
splits; classes that are missing, small or unbalanced; labels in two spellings; formats that give a label away.""",
    examples="""
earmark inspect recordings
earmark inspect recordings --output_dir inspection        # and a page with players
earmark inspect recordings --unlabelled                   # recordings without labels, in folders or not
earmark inspect recordings --strict true                  # exit code 2 if training would refuse it""",
)
COMMAND = Command("inspect", _inspect, (InspectOptions,), _PAGE, words=("data_dir",), training_file=True)
