"""The settings of ``earmark export`` and ``earmark push``, which pass a model on to others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from earmark.settings.flags import COUNT, Scope, Settings, flag, matching
from earmark.settings.model_flags import TrainedModelArguments


@dataclass
class ExportOptions(TrainedModelArguments, page="export"):
    """Settings of ``earmark export``: a checkpoint, a format, a folder, and recordings to check the export on.

    Raises:
        UsageError: no checkpoint or no output is named, or a value is invalid.
    """

    REQUIRED = ("model_name_or_path", "output")
    MISSING = "no model or no folder. Name both: earmark export MODEL --output FOLDER."

    format: Literal["onnx", "onnx-int8", "pt2"] = flag(
        "onnx", "Format: onnx, onnx-int8 (ONNX with 8-bit weights of matrix products) or pt2 (torch.export)."
    )
    output: str | None = flag(None, "Folder of the export, new or empty (required).", metavar="DIR")
    calibration: str | None = flag(
        None,
        "Folder of recordings on which the export is compared with PyTorch, with accuracies if they are in folders "
        "named after the classes (default: generated audio that resembles speech).",
        metavar="DIR",
    )
    max_calibration_samples: int = flag(
        500, "use only this many recordings, evenly spread.", check=COUNT, needs="calibration"
    )
    fixed_shape: str | None = flag(
        None,
        "BATCHxSECONDS, e.g. 1x1.0: a file for batches of this one shape, for Ascend's ATC.",
        check=matching(r"[1-9][0-9]*x([0-9]+\.?[0-9]*|\.[0-9]+)", "BATCHxSECONDS, such as 1x1.0"),
    )
    soc_version: str = flag(
        "Ascend310P3", "name of the chip (see npu-smi info) in the atc command that is printed.", needs="fixed_shape"
    )

    @property
    def batch_and_seconds(self) -> tuple[int, float] | None:
        """Batch size and seconds of ``fixed_shape``."""
        if self.fixed_shape is None:
            return None
        batch, seconds = self.fixed_shape.split("x")
        return int(batch), float(seconds)


@dataclass
class PushOptions(Settings, page="upload"):
    """Settings of ``earmark push``: a run folder and its name on the hub.

    Raises:
        UsageError: the folder or the name is missing.
    """

    REQUIRED = ("model_name_or_path", "repo")
    MISSING = "no run folder or no name on the hub. Name both: earmark push RUN ORG/NAME."

    model_name_or_path: str | None = flag(None, "Run folder.")
    repo: str | None = flag(None, "Name on the hub: ORG/NAME, or NAME for your own.")
    private: bool = flag(False, "Make a new repository private to you and your organisation.")
    revision: str | None = flag(None, "Branch to commit to (default: main).")
    message: str = flag("Upload model", "Message of the commit.")
    token: str | None = flag(
        None, "Access token that may write (default: HF_TOKEN, or the token of `hf auth login`).", scope=Scope.SECRET
    )
