"""``earmark label``."""

from __future__ import annotations

from earmark.cli.command import Command, HelpPage
from earmark.settings.labelling_flags import LabelOptions


def _label(options: LabelOptions) -> None:
    from earmark.predict.inputs import check_inputs

    check_inputs(options.inputs)  # before torch is imported, which takes seconds
    from earmark.label.start_labelling import label

    print(label(options).summary)


_PAGE = HelpPage(
    summary="review the recordings the model learns most from and correct their labels in a browser",
    usage="""
earmark label FILES_OR_FOLDERS... --model MODEL [flags]
earmark label FOLDER_OR_MANIFEST --model MODEL --check [flags]
MODEL is a run folder, a model folder or a hub name""",
    groups={"labelling": "labelling", "model": "loading the model"},
    notes="""
proposals.csv lists all recordings, the ones to check first at the top. Each decision on the page is saved at once in
labels.csv, a manifest for `earmark train --train_file`. Ctrl-C ends the command; run it again to continue.""",
    examples="""
earmark label new_recordings --model runs/first
earmark label recordings --model runs/first --check --output_dir checked      # labels that may be wrong
earmark label new_recordings --model runs/first --page false                  # proposals.csv only""",
)
COMMAND = Command("label", _label, (LabelOptions,), _PAGE, words=("inputs",), needs_training=True)
