"""The settings of ``earmark bench``: what to measure, on which clips, with which model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from earmark.errors import UsageError
from earmark.settings.flags import COUNT, SEED, at_least, changed, declared_flags, flag, within
from earmark.settings.model_flags import ModelArguments, NetworkArguments
from earmark.settings.run_flags import DEVICE_HELP

# flags that have an effect on some of the three jobs only
_JOBS_OF_FLAGS = {
    "num_workers": ("data",),
    "steps": ("train",),
    "skipped_steps": ("train",),
    "freeze": ("train",),
    "keep_frozen": ("train",),
    "bucket_waste": ("data", "train"),
    "passes": ("infer",),
    "precision": ("infer",),
    "attention_mask": ("train", "infer"),
    "device": ("train", "infer"),
    **dict.fromkeys(declared_flags(NetworkArguments), ("train", "infer")),
}


@dataclass
class BenchOptions(NetworkArguments, page="measurement"):
    """``earmark bench data|train|infer``: what to measure, on which clips, with which model.

    Raises:
        UsageError: nothing to measure, no model, a flag of another job, or a number out of range.
    """

    work: Literal["data", "train", "infer"] | None = flag(None, "What to measure.")
    data_dir: str | None = flag(None, "Folder of recordings, as for `earmark train`; its training clips are used.")
    lengths: str = flag(
        "fixed:1.0",
        "Lengths of synthetic clips, in seconds: fixed:1.0, uniform:0.5,16 (shortest, longest) or "
        "lognormal:2.0,0.8,0.5,16 (median, sigma of the logarithm, shortest, longest).",
    )
    num_clips: int = flag(500, "Number of synthetic clips.", check=COUNT)
    seed: int = flag(0, "Seed of the synthetic clips, of random weights and of the order.", check=SEED)
    max_length_seconds: float | None = flag(
        None,
        "Longest stretch of a clip, in seconds (default: the longest clip, at most 20 s).",
        check=at_least(0.025, "seconds"),
    )
    batch_size: int | None = flag(None, "Clips per batch (default: 128 for data, else 32).", check=COUNT)
    bucket_waste: float = flag(
        0.1,
        "data, train: largest fraction of padding in a batch, as for `earmark train`.",
        check=within(0, 1, "between 0 and 1"),
    )
    num_workers: int = flag(1, "data: processes that make batches.", check=COUNT)
    attention_mask: bool = changed(ModelArguments, "attention_mask", True)
    freeze: str | None = changed(ModelArguments, "freeze", None)
    steps: int = flag(10, "train: optimizer steps that are timed.", check=COUNT)
    skipped_steps: int = flag(3, "train: steps before those, which are not timed.", check=COUNT)
    keep_frozen: bool = flag(
        True, "train: compute the frozen part of the model once, before the steps, as `earmark train` does."
    )
    passes: int = flag(1, "infer: passes over the clips.", check=COUNT)
    precision: Literal["fp32", "bf16"] = flag("fp32", "infer: number format of the computation.")
    device: str = flag("auto", f"Device: {DEVICE_HELP}")
    json: str | None = flag(None, "File for all figures, settings and versions; replaced if it exists.", metavar="FILE")

    def validate(self) -> None:
        """Check that the job is known, that it has a model if it needs one, and that every flag has an effect."""
        super().validate()
        if self.work is None:
            raise UsageError("nothing to measure. Name a job: earmark bench data, train or infer.")
        self.reject_without(
            _JOBS_OF_FLAGS,
            self.work,
            lambda name: f"--{name} is for earmark bench {' and '.join(_JOBS_OF_FLAGS[name])}, not for {self.work}",
        )
        if self.work != "data" and not self.names_a_model:
            raise UsageError(
                f"earmark bench {self.work} needs a model. Add --model_name_or_path FOLDER_OR_NAME, or --model_type "
                "for random weights."
            )
        if self.batch_size is None:
            self.batch_size = 128 if self.work == "data" else 32
