"""The settings of ``earmark label``: recordings, the model that proposes labels, and the output folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from earmark.errors import UsageError
from earmark.settings.flags import COUNT, flag
from earmark.settings.model_flags import TrainedModelArguments
from earmark.settings.run_flags import DEVICE_HELP
from earmark.settings.serving_flags import PORT


@dataclass
class LabelOptions(TrainedModelArguments, page="labelling"):
    """Settings of ``earmark label``: recordings, the model that proposes labels for them, and the output folder.

    Raises:
        UsageError: no recordings or no model are named, or a number is out of range.
    """

    REQUIRED = ("model_name_or_path", "inputs")
    MISSING = "no recordings or no model. Name both: earmark label FOLDER --model RUN."

    inputs: list[str] = flag([], "Recordings and folders of recordings.", metavar="FILE_OR_FOLDER")
    model_name_or_path: str | None = flag(None, "Run folder, model folder or hub name (required).", aliases=("model",))
    output_dir: str = flag(
        "labels", "Folder for proposals.csv and labels.csv; in an existing folder, labelling continues."
    )
    check: bool = flag(
        False,
        "Check labels that exist, in class folders or a manifest: labels that the model doubts come first, and "
        "labels.csv gets all labels, with the corrections.",
    )
    audio_column_name: str = flag("audio", "column of the manifest with the recording.", needs="check")
    label_column_name: str = flag("label", "column of the manifest with the class name.", needs="check")
    label_separator: str | None = flag(
        None, "Separator of several labels in a cell of labels.csv (default: as in the model's run, or a comma)."
    )
    audio_dir: str | None = flag(None, "folder of the recordings that a manifest names.", needs="check")
    start_column_name: str | None = flag(
        None, "column with the start of each event (default: found by name); none: whole recordings.", needs="check"
    )
    end_column_name: str | None = flag(
        None, "column with the end of each event (default: found by name).", needs="check"
    )
    on_missing_label: Literal["fail", "skip"] = flag(
        "fail", "rows without a label: fail stops and names the first, skip leaves them out.", needs="check"
    )
    train_split_name: str = flag("train", "folder of the training split; none: there is no such split.", needs="check")
    eval_split_name: str = flag(
        "validation", "folder of the validation split; none: there is no such split.", needs="check"
    )
    test_split_name: str = flag("test", "folder of the test split; none: there is no such split.", needs="check")
    order: Literal["diverse", "uncertain", "confident", "random", "suspicious"] | None = flag(
        None,
        "Order of the clips: diverse (uncertain clips that differ from the clips before them), uncertain (the least "
        "certain first), confident (the most certain first), random, or suspicious (labels that the model doubts "
        "first) (default: diverse; with --check, suspicious).",
    )
    seed: int = flag(42, "seed of the order.", needs="order=random")
    page: bool = flag(
        True, "Serve a page for playing and labelling clips, on this machine only; false: write proposals.csv only."
    )
    port: int = flag(8010, "port of the page; 0 takes a free one.", check=PORT, needs="page")
    batch_size: int = flag(32, "Windows per batch.", check=COUNT)
    num_workers: int = flag(2, "Threads that decode recordings.", check=COUNT)
    device: str = flag("auto", f"Device: {DEVICE_HELP}")

    def validate(self) -> None:
        """Choose the default order, and check that it fits the recordings."""
        super().validate()
        if self.order is None:
            self.order = "suspicious" if self.check else "diverse"
        if self.order == "suspicious" and not self.check:
            raise UsageError("--order suspicious needs recordings with labels. Add --check.")
        if self.check and len(self.inputs) != 1:
            raise UsageError("--check takes one source. Name one folder of class folders, or one manifest.")
