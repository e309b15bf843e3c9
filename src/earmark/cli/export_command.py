"""``earmark export``."""

from __future__ import annotations

from earmark.cli.command import Command, HelpPage, print_summary
from earmark.settings.export_flags import ExportOptions

_PAGE = HelpPage(
    summary="export a trained model as ONNX or torch.export, checked against PyTorch",
    usage="""
earmark export MODEL --output FOLDER [flags]
MODEL is a run folder, a model folder or a hub name""",
    groups={"export": "export", "model": "loading the model"},
    notes="""
The export takes waveforms and returns probabilities. It is compared with PyTorch, and refused if its predictions
differ. earmark predict, earmark evaluate and Classifier.from_pretrained take the folder in place of a model.""",
    examples="""
earmark export runs/first --output first_onnx
earmark export runs/first --format onnx-int8 --calibration recordings/validation --output first_int8
earmark export runs/first --fixed_shape 1x1.0 --soc_version Ascend310P3 --output first_1x1""",
)
_RUN = print_summary("earmark.export.export_model", "export")
COMMAND = Command("export", _RUN, (ExportOptions,), _PAGE, words=("model_name_or_path",), needs_training=True)
