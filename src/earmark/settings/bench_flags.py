"""The settings of ``earmark bench``: what to measure, on which clips, with which model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from earmark.errors import UsageError
from earmark.settings.flags import COUNT, SEED, at_least, changed, declared_flags, flag, within
from earmark.settings.model_flags import ModelArguments, NetworkArguments
from earmark.settings.profile_flags import TRAINING_STEPS, profile_flag
from earmark.settings.run_flags import DEVICE_HELP


@dataclass
class BenchOptions(NetworkArguments, page="measurement"):
    """``earmark bench data|train|infer``: what to measure, on which clips, with which model.

    Raises:
        UsageError: no job or no model is named, a flag belongs to another job, or a number is out of range.
    """

    REQUIRED = ("work",)
    MISSING = "nothing to measure. Name a job: earmark bench data, train or infer."

    work: Literal["data", "train", "infer"] | None = flag(None, "What to measure.")
    data_dir: str | None = flag(None, "Folder of recordings, as for `earmark train`; its training clips are used.")
    lengths: str = flag(
        "fixed:1.0",
        "Lengths of synthetic clips, in seconds: fixed:1.0, uniform:0.5,16 (shortest, longest) or "
        "lognormal:2.0,0.8,0.5,16 (median, sigma of the logarithm, shortest, longest).",
    )
    num_clips: int = flag(500, "Number of synthetic clips.", check=COUNT)
    seed: int = flag(0, "Seed of the synthetic clips, the random weights and the order of the clips.", check=SEED)
    max_length_seconds: float | None = flag(
        None,
        "Maximum clip length, in seconds (default: the longest clip, at most 20 s).",
        check=at_least(0.025, "a length in seconds"),
    )
    batch_size: int | None = flag(None, "Clips per batch (default: 128 for data, else 32).", check=COUNT)
    bucket_waste: float = flag(
        0.1,
        "largest fraction of padding in a batch, as for `earmark train`.",
        check=within(0, 1, "between 0 and 1"),
        only="data, train",
    )
    num_workers: int = flag(1, "processes that make batches.", check=COUNT, only="data")
    attention_mask: bool = changed(ModelArguments, "attention_mask", True, only="train, infer")
    freeze: str | None = changed(ModelArguments, "freeze", None, only="train")
    steps: int = flag(10, "optimizer steps that are timed.", check=COUNT, only="train")
    skipped_steps: int = flag(3, "optimizer steps before the timed ones, as a warm-up.", check=COUNT, only="train")
    keep_frozen: bool = flag(
        True, "compute the frozen part of the model once, before the steps, as `earmark train` does.", only="train"
    )
    torch_compile: bool = flag(False, "compile the model with torch.compile.", only="train")
    torch_compile_mode: str | None = flag(
        None, "mode of torch.compile, such as reduce-overhead (CUDA graphs); implies --torch_compile.", only="train"
    )
    passes: int = flag(1, "passes over the clips.", check=COUNT, only="infer")
    precision: Literal["fp32", "bf16", "fp16"] = flag("fp32", "number format of the computation.", only="infer")
    device: str = flag("auto", f"Device (`bench data` also copies batches to it): {DEVICE_HELP}")
    profile: int | None = profile_flag(
        TRAINING_STEPS,
        "further steps or batches",
        "the folder FILE.profile of --json FILE",
        only="train, infer",
    )
    json: str | None = flag(
        None, "File for all measurements, settings and versions; replaced if it exists.", metavar="FILE"
    )

    @property
    def profile_folder(self) -> Path:
        """Folder for the files of ``--profile``."""
        return Path(f"{self.json}.profile")

    def validate(self) -> None:
        """Check that the job has a model if it needs one, and that every flag has an effect."""
        super().validate()
        self.reject_without([str(self.work)], lambda one: self._misplaced(one.name, one.only))
        for name in declared_flags(NetworkArguments):
            if self.work == "data" and self.is_set(name):
                raise UsageError(self._misplaced(name, ("train", "infer")))
        for name in ("lengths", "num_clips"):
            if self.data_dir is not None and self.is_set(name):
                raise UsageError(f"--{name} is for synthetic clips, not for --data_dir. Leave one of them out.")
        if self.work != "data" and not self.names_a_model:
            raise UsageError(
                f"earmark bench {self.work} needs a model. Add --model_name_or_path FOLDER_OR_NAME, or --model_type "
                "for random weights."
            )
        if self.profile is not None and self.json is None:
            raise UsageError("--profile writes its files beside the file of --json. Add --json FILE.")
        if self.batch_size is None:
            self.batch_size = 128 if self.work == "data" else 32

    def _misplaced(self, name: str, jobs: Sequence[str]) -> str:
        return f"--{name} is for earmark bench {' and '.join(jobs)}, not for {self.work}. Leave it out."
