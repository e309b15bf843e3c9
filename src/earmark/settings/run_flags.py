"""Settings of a single run: devices, output, seeds and resuming."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from earmark.errors import UsageError
from earmark.settings.flags import COUNT, Scope, Settings, flag
from earmark.settings.profile_flags import TRAINING_STEPS, profile_flag

DEVICE_HELP = "auto, npu, cuda, xpu, mps or cpu; auto takes the first accelerator that it finds."


@dataclass
class RunArguments(Settings, page="run"):
    """Settings of a single run: devices, output, seeds and resuming.

    Raises:
        UsageError: ``seeds`` are not whole numbers.
    """

    device: str = flag("auto", f"Device: {DEVICE_HELP}", scope=Scope.MACHINE)
    precision: Literal["auto", "bf16", "fp16", "fp32"] = flag(
        "auto",
        "Number format of training; auto: bf16 if the device has it, else fp16 on accelerators, fp32 on CPUs.",
        scope=Scope.LEARNED,
    )
    overwrite_output_dir: bool = flag(False, "Replace a run that is already in the output folder.", scope=Scope.ONCE)
    resume: bool = flag(
        False,
        "Resume from the newest complete checkpoint in the output folder; start from the beginning if there is none.",
        scope=Scope.ONCE,
    )
    num_processes: int | None = flag(
        None,
        "Number of processes on this machine, one for each card; starts torch's own launcher (default: this process).",
        check=COUNT,
        scope=Scope.ONCE | Scope.MACHINE,
    )
    seeds: str | None = flag(
        None,
        "Several runs, one for each of these seeds: 0,1,2 (with folds: all folds for each); reports the mean.",
        commas=True,
        scope=Scope.RESULT,
    )
    metric: str | None = flag(
        None,
        "Folder of a local `evaluate` metric, computed in addition to the built-in ones.",
        metavar="DIR",
        scope=Scope.MACHINE,
    )
    report: bool = flag(True, "Write report.html, a page with metrics, charts and audio, into the run folder.")
    profile: int | None = profile_flag(TRAINING_STEPS, "training steps", "profile/ in the run folder")
    logging_dir: str | None = flag(
        None, "Folder for TensorBoard events (default: runs/ in the output folder).", scope=Scope.MACHINE
    )

    def validate(self) -> None:
        """Check the list of seeds."""
        super().validate()
        self.seed_list()

    def seed_list(self) -> list[int]:
        """Return the numbers of ``--seeds``; empty without the flag.

        Raises:
            UsageError: the seeds are not whole numbers separated by commas, or one is listed twice.
        """
        if self.seeds is None:
            return []
        words = [word.strip() for word in str(self.seeds).split(",")]
        if not all(re.fullmatch("[0-9]+", word) and int(word) < 2**32 for word in words):
            expected = "whole numbers from 0 to 4294967295, separated by commas, e.g. 0,1,2"
            raise UsageError(f"--seeds {self.seeds}: expected {expected}")
        numbers = [int(word) for word in words]
        if len(set(numbers)) < len(numbers):
            raise UsageError(f"--seeds {self.seeds}: a seed is listed twice. Give each seed once.")
        return numbers
