"""The settings of ``earmark bench``, behind its flags. Imports neither torch nor Transformers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from earmark.config import ModelArguments, flag, require_value
from earmark.errors import UsageError

# flags of ``earmark bench`` that mean nothing to some of its three jobs
_BENCH_FLAGS = {
    "num_workers": ("data",),
    "steps": ("train",),
    "skipped_steps": ("train",),
    "freeze": ("train",),
    "keep_frozen": ("train",),
    "bucket_waste": ("data", "train"),
    "passes": ("infer",),
    "precision": ("infer",),
    "model_name_or_path": ("train", "infer"),
    "model_type": ("train", "infer"),
    "config_name": ("train", "infer"),
    "config_overrides": ("train", "infer"),
    "device": ("train", "infer"),
}


@dataclass
class BenchOptions(ModelArguments):
    """``earmark bench data|train|infer``: what to measure, on which clips, with which model.

    Raises:
        UsageError: nothing to measure, no model, a flag of another job, or a number out of range.
    """

    work: str = field(default="", metadata={"help": "data, train or infer"})
    data_dir: str | None = flag(None, "folder of recordings, as `earmark train` takes it; its training clips are used")
    lengths: str = flag(
        "fixed:1.0",
        "lengths of synthetic clips, in seconds: fixed:1.0, uniform:0.5,16 (shortest, longest) or "
        "lognormal:2.0,0.8,0.5,16 (median, sigma of the logarithm, shortest, longest)",
    )
    num_clips: int = flag(500, "how many synthetic clips")
    seed: int = flag(0, "seed of the synthetic clips, of random weights and of the order")
    max_length_seconds: float | None = flag(
        None, "longest stretch of a clip, in seconds (default: the longest clip, at most 20 s)"
    )
    batch_size: int | None = flag(None, "clips a batch (default: 128 for data, else 32)")
    bucket_waste: float = flag(0.1, "data, train: most padding in length buckets, as for `earmark train`")
    num_workers: int = flag(1, "data: processes that make batches")
    steps: int = flag(10, "train: optimizer steps that are timed")
    skipped_steps: int = flag(3, "train: steps before those, which are not timed")
    keep_frozen: bool = flag(
        True, "train: compute the frozen part of the model once, before the steps, as `earmark train` does"
    )
    passes: int = flag(1, "infer: times through the clips")
    precision: Literal["fp32", "bf16"] = flag("fp32", "infer: what the model computes in")
    device: str = flag("auto", "auto, npu, cuda, xpu, mps or cpu; auto takes the first accelerator there is")
    json: str | None = flag(None, "file for all figures, settings and versions; replaced where it exists")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.work not in ("data", "train", "infer"):
            raise UsageError(f"measure what? earmark bench data, train or infer{self.work and f', not {self.work}'}")
        for name, works in _BENCH_FLAGS.items():
            given = getattr(self, name) != type(self).__dataclass_fields__[name].default
            if given and self.work not in works:
                raise UsageError(f"--{name} is for earmark bench {' and '.join(works)}, not for {self.work}")
        if self.model_name_or_path and self.model_type:
            raise UsageError(f"--model_name_or_path {self.model_name_or_path} and --model_type contradict: keep one")
        if self.work != "data" and not (self.model_name_or_path or self.model_type or self.config_name):
            raise UsageError(
                f"no model: earmark bench {self.work} --model_name_or_path FOLDER_OR_NAME, or --model_type for "
                "random weights"
            )
        if self.batch_size is None:
            self.batch_size = 128 if self.work == "data" else 32
        for name in ("num_clips", "batch_size", "num_workers", "steps", "skipped_steps", "passes"):
            require_value(getattr(self, name) >= 1, name, getattr(self, name), "a whole number from 1 on")
        require_value(0 <= self.seed < 2**32, "seed", self.seed, "a whole number from 0 to 4294967295")
        require_value(0 <= self.bucket_waste <= 1, "bucket_waste", self.bucket_waste, "between 0 and 1")
        seconds = self.max_length_seconds
        ok = seconds is None or (math.isfinite(seconds) and seconds >= 0.025)
        require_value(ok, "max_length_seconds", seconds, "seconds from 0.025 on")
