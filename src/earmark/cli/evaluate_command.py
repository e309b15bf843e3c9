"""``earmark evaluate``."""

from __future__ import annotations

from earmark.cli.command import Command, HelpPage, print_summary
from earmark.settings.evaluation_flags import EvaluateOptions

_PAGE = HelpPage(
    summary="score a trained model on labelled recordings",
    usage="""
earmark evaluate MODEL --data_dir DIR [flags]
MODEL is a run folder, a model folder, an export or a hub name""",
    groups={"evaluation": "evaluation", "data": "data", "model": "loading the model"},
    notes="""
If the data has no splits, earmark scores the clips that the run held out, which its splits.csv lists. If the data has
splits, earmark counts and marks clips of --split that the model was trained on.

Results go into evaluation_SPLIT in the model's folder; if that has an evaluation of other clips, into
evaluation_SPLIT_2 and so on. An --output_dir with an evaluation of other clips or another model is refused.""",
    examples="""
the test split of the folder that the model was trained on:
  earmark evaluate runs/first --data_dir recordings --split test
the test split, with the data settings of a training configuration:
  earmark evaluate runs/first --config recipes/superb_ks_wav2vec2_base.yaml --split test""",
)
_RUN = print_summary("earmark.evaluate.evaluate_model", "evaluate")
COMMAND = Command(
    "evaluate", _RUN, (EvaluateOptions,), _PAGE, words=("model_name_or_path",), training_file=True, needs_training=True
)
