"""``earmark predict``."""

from __future__ import annotations

from earmark.cli.command import Command, HelpPage
from earmark.settings.prediction_flags import PredictOptions


def _predict(options: PredictOptions) -> None:
    from earmark.predict.predict_recordings import predict_files

    predict_files(options)  # rows go to a file or to standard output as they come


_PAGE = HelpPage(
    summary="label recordings",
    usage="""
earmark predict MODEL FILES_OR_FOLDERS... [flags]
MODEL is a run folder, a model folder, an export or a hub name""",
    groups={"prediction": "prediction", "inference": "computation", "model": "loading the model"},
    notes="""
A recording that cannot be read does not stop the others: OUTPUT.bad_audio.csv lists the reason. The exit code is 2
if no recording could be read or results could not be written. OUTPUT.earmark.json records the model and the settings;
--resume refuses to mix in results of another model or other settings.""",
    examples="""
earmark predict runs/first new_recordings --output labels.csv
earmark predict runs/first a.wav b.mp3 --top_k 3
earmark predict runs/birds recordings --window_seconds 3 --threshold 0.7 --output detections.csv
earmark predict runs/birds recordings --window_seconds 3 --format raven --output selections --resume""",
)
COMMAND = Command("predict", _predict, (PredictOptions,), _PAGE, words=("model_name_or_path", "inputs"))
