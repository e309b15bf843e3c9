"""``earmark calibrate``."""

from __future__ import annotations

from earmark.cli.command import Command, HelpPage, print_summary
from earmark.settings.evaluation_flags import CalibrateOptions

_PAGE = HelpPage(
    summary="fit a model's temperature, and thresholds below which predictions are rejected",
    usage="""
earmark calibrate RUN --data_dir DIR [flags]
RUN is a run folder or a model folder, which gets a file decision.json""",
    groups={"decision": "what is fitted", "evaluation": "on which clips", "data": "data", "model": "loading the model"},
    notes="""
predict, evaluate, serve, export, push and Classifier apply decision.json; without the file, they use the model's own
probabilities and default thresholds. `earmark train` has the same flags. The printed metrics come from cross-fitting:
each half of the clips is scored with a temperature and thresholds fitted on the other half.""",
    examples="""
earmark calibrate runs/first --data_dir recordings
earmark calibrate runs/first --data_dir recordings --target_precision 0.95
earmark calibrate runs/first --data_dir recordings --reject_class background --reject_false_accept_rate 0.05""",
)
_RUN = print_summary("earmark.evaluate.calibrate", "calibrate")
COMMAND = Command(
    "calibrate",
    _RUN,
    (CalibrateOptions,),
    _PAGE,
    words=("model_name_or_path",),
    training_file=True,
    needs_training=True,
)
