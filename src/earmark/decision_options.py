"""Settings of what a loss counts and of how answers are decided. Imports neither torch nor Transformers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from earmark.config import EvaluateOptions, flag
from earmark.errors import UsageError


@dataclass
class LossArguments:
    """What classes and clips count for in training; see :mod:`earmark.train.losses`.

    Raises:
        UsageError: a value out of range, or two settings that do the same twice.
    """

    class_weights: str | None = flag(
        None,
        "what a clip of each class counts in the loss: balanced (inverse to the number of clips), a=2,b=0.5, a JSON "
        "object or a .json file of one; classes that are not named have 1; scaled so that a clip counts 1 on average",
    )
    sampler: Literal["random", "balanced"] = flag(
        "random",
        "which clips an epoch takes: random is each of them once; balanced is as many clips, each class equally often",
    )
    focal_gamma: float = flag(
        0.0, "focal loss: clips that are known well count less, by (1 - probability) to this power; 2 is usual"
    )

    def check_loss(self) -> None:
        """Refuse what cannot be, before Transformers looks at its own settings."""
        if str(self.class_weights).lower() == "none":  # what a search, or a file of settings, can say
            self.class_weights = None
        if not (math.isfinite(self.focal_gamma) and self.focal_gamma >= 0):
            raise UsageError(f"--focal_gamma {self.focal_gamma}: expected 0 or more")
        if self.sampler not in ("random", "balanced"):
            raise UsageError(f"--sampler {self.sampler}: expected random or balanced")
        if self.sampler == "balanced" and self.class_weights == "balanced":
            raise UsageError("--sampler balanced with --class_weights balanced evens classes out twice: keep one")


@dataclass
class DecisionArguments:
    """What is fitted on validation clips and saved with the model; see :mod:`earmark.scoring.decide`."""

    calibrate: bool = flag(
        False, "fit a temperature on the validation clips, so that probabilities are right as often as they say"
    )
    target_precision: float | None = flag(
        None, "fit for each class the lowest probability from which on its answers are right this often"
    )
    reject_target_precision: float | None = flag(
        None, "fit one probability for all classes from which on answers are right this often"
    )
    reject_false_accept_rate: float | None = flag(
        None, "and so that at most this share of the --reject_class clips is taken for another class"
    )
    reject_class: str | None = flag(
        None, "the answer below these probabilities: a class of the model or another word (default: unknown)"
    )

    @property
    def fits_thresholds(self) -> bool:
        """Whether any probability below which nothing is answered is asked for."""
        targets = (self.target_precision, self.reject_target_precision, self.reject_false_accept_rate)
        return any(target is not None for target in targets)

    @property
    def fits_anything(self) -> bool:
        """Whether validation clips are needed."""
        return self.calibrate or self.fits_thresholds

    def check_decision(self) -> None:
        """Refuse what cannot be.

        Raises:
            UsageError: a target out of range, or a class to answer without a probability to answer it below.
        """
        for name in ("target_precision", "reject_target_precision"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise UsageError(f"--{name} {value}: expected above 0 and at most 1")
        rate = self.reject_false_accept_rate
        if rate is not None and not 0 <= rate < 1:
            raise UsageError(f"--reject_false_accept_rate {rate}: expected from 0 to below 1")
        if rate is not None and self.reject_class is None:
            raise UsageError("--reject_false_accept_rate: of which clips? name the class with --reject_class")
        if self.reject_class is not None and not self.reject_class.strip():
            raise UsageError("--reject_class: expected a word")
        if self.reject_class is not None and not self.fits_thresholds:
            raise UsageError(
                f"--reject_class {self.reject_class}: the answer below which probability? add --reject_target_precision"
                ", --reject_false_accept_rate or --target_precision"
            )


@dataclass
class CalibrateOptions(DecisionArguments, EvaluateOptions):
    """``earmark calibrate``: a run, labelled recordings, and what is fitted on them.

    Raises:
        UsageError: no model, nothing to fit, or a number out of range.
    """

    calibrate: bool = flag(
        True, "fit a temperature, so that probabilities are right as often as they say; false: thresholds only"
    )

    def __post_init__(self) -> None:
        if not self.model_name_or_path:
            raise UsageError("which model? name its folder first: earmark calibrate RUN --data_dir DIR")
        super().__post_init__()
        self.check_decision()
        if not self.fits_anything:
            raise UsageError("--calibrate false: nothing is left to fit; add --target_precision or another target")
