"""The settings of ``earmark evaluate``, ``calibrate`` and ``inspect``, which take labelled recordings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from earmark.errors import UsageError
from earmark.settings.data_flags import DataArguments
from earmark.settings.flags import COUNT, flag
from earmark.settings.model_flags import TrainedModelArguments
from earmark.settings.run_flags import DEVICE_HELP
from earmark.settings.training_flags import DecisionArguments


@dataclass
class EvaluateOptions(TrainedModelArguments, DataArguments, page="evaluation"):
    """Settings of ``earmark evaluate``: a checkpoint, the data, and the output.

    Raises:
        UsageError: no checkpoint is named, or a number is out of range.
    """

    REQUIRED = ("model_name_or_path",)
    MISSING = "no model. Name its folder first: earmark evaluate MODEL --data_dir DIR."

    UNUSED: ClassVar[tuple[str, ...]] = ("max_train_samples", "shots")  # training clips are not scored

    split: Literal["validation", "test", "unseen"] = flag(
        "validation",
        "Split to score; unseen: the clips used neither to train the run nor to choose its best model.",
    )
    output_dir: str | None = flag(None, "Folder for metrics and predictions (default: inside the model's folder).")
    per_device_eval_batch_size: int = flag(32, "Clips per batch on each device.", check=COUNT)
    seed: int | None = flag(
        None,
        "Seed of a split that earmark makes because the run has no record of its splits (default: the run's, or 42).",
    )
    device: str = flag("auto", f"Device: {DEVICE_HELP}")
    metric: str | None = flag(
        None, "Folder of a local `evaluate` metric, computed in addition to the built-in ones.", metavar="DIR"
    )
    report: bool = flag(True, "Write report.html, a page with metrics, charts and audio.")


@dataclass
class CalibrateOptions(DecisionArguments, EvaluateOptions, page="decision"):
    """Settings of ``earmark calibrate``: a run, labelled recordings, and what to fit on them.

    Raises:
        UsageError: no model, nothing to fit, or a number out of range.
    """

    MISSING = "no model. Name its folder first: earmark calibrate RUN --data_dir DIR."

    UNUSED = ("output_dir", "metric", "report")  # decision.json goes into the model's folder

    calibrate: bool = flag(
        True,
        "Fit a temperature, so that predictions are right as often as their probabilities say; false: thresholds only.",
    )

    def validate(self) -> None:
        """Check that there is something to fit."""
        super().validate()
        if not self.fits_anything:
            raise UsageError("--calibrate false: nothing is left to fit. Add --target_precision or another target.")


@dataclass
class InspectOptions(DataArguments, page="inspection"):
    """Settings of ``earmark inspect``: the recordings, and the output for the findings."""

    output_dir: str | None = flag(
        None,
        "Folder for inspect.html (a page with charts and audio), inspect.json and findings.csv (default: print only).",
    )
    unlabelled: bool = flag(
        False,
        "Treat all recordings below the folder as unlabelled and ignore the names of folders; not needed for a folder "
        "that holds only recordings.",
    )
    explain: bool = flag(False, "Print how each table was read: its separator, what each column is, and why.")
    near_duplicates: bool = flag(True, "Also look for copies that were re-encoded, resampled or made louder.")
    strict: bool = flag(False, "Exit with code 2 if there is an error among the findings, for scripts.")
    seed: int = flag(42, "Seed of a validation split that earmark makes; use the seed of training.")
